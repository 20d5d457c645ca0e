"""The most multiplications and additions that the processor does in a second, measured."""

from __future__ import annotations

import ctypes
import time

import torch
from llvmlite import ir

from . import threads as pool
from .llvm.control import accumulate, loop
from .llvm.host import Host, host
from .llvm.kernels import compile_ir
from .llvm.layout import KERNEL, PREPARE
from .llvm.math import fma
from .llvm.memory import I64, PTR, Vectors

SECONDS = 0.2
"""How long is measured; the fastest of `ROUNDS` parts counts."""

ROUNDS = 80
"""Parts as short as what the system gives a process at a time, so that some are undisturbed where others want the cores."""

CONSTANTS = 4
"""Vector registers that hold no chain: factor, addend, and two to spare."""


def fma_peak(threads: int) -> float:
    """Billions of float32 operations in a second, of a multiplication with an addition two, on this many threads of torch's
    pool: more than `torch.get_num_threads` take turns.
    """
    processor = host()
    kernel = compile_ir(str(_emit(processor)), processor)
    lanes, chains = _lanes(processor), _chains(processor)
    numbers = torch.tensor([0.999, 0.001])
    results = torch.empty(threads, lanes)  # written, never read

    def seconds(threads: int, steps: int) -> float:
        context = (ctypes.c_int64 * 3)(steps, numbers.data_ptr(), results.data_ptr())
        start = time.perf_counter()
        pool.run(kernel.run, threads, ctypes.addressof(context))
        return time.perf_counter() - start

    steps, wanted = 1000, SECONDS / ROUNDS
    while (taken := min(seconds(1, steps) for _ in range(3))) < wanted / 2:
        steps *= 2
    steps = round(steps * wanted / taken)
    fastest = min(seconds(threads, steps) for _ in range(ROUNDS))
    return 2.0 * steps * chains * lanes * threads / fastest / 1e9


def _lanes(processor: Host) -> int:
    return processor.vector_bytes // 4


def _chains(processor: Host) -> int:
    """Sums that do not wait for each other: as many as have a register, more than any processor has under way."""
    return processor.registers - CONSTANTS


def _emit(processor: Host) -> ir.Module:
    """`KERNEL` (begin, end, context): for each thread, every chain does value = value * factor + addend, again and again.

    context: how often, address of factor and addend, address of a vector for each thread's result.
    """
    module = ir.Module(name="deeplstm.peak")
    signature = ir.FunctionType(ir.VoidType(), [I64, I64, PTR])
    types = Vectors("float32", _lanes(processor))
    b = ir.IRBuilder(ir.Function(module, signature, KERNEL).append_basic_block("entry"))
    begin, end, context = b.function.args
    steps, given, results = (b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64) for n in range(3))
    given, results = b.inttoptr(given, PTR), b.inttoptr(results, PTR)
    # from memory: the compiler would compute with what it knows
    factor, addend = (
        types.load_scalar(b, b.gep(given, [I64(n)], source_etype=types.scalar), "float32") for n in range(2)
    )
    starts = [ir.Constant(types.type, [float(n)] * types.lanes) for n in range(_chains(processor))]
    with loop(b, begin, end, "thread") as thread:
        values = accumulate(b, steps, starts, lambda _, values: [fma(b, v, factor, addend) for v in values])
        total = values[0]
        for value in values[1:]:
            total = b.fadd(total, value)
        types.store(b, total, b.gep(results, [thread], source_etype=types.type), "float32")
    b.ret_void()
    ir.IRBuilder(ir.Function(module, signature, PREPARE).append_basic_block("entry")).ret_void()
    return module
