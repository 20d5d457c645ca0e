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


class Registers:
    """A call that does nothing but multiplications with additions, in registers, on this many threads of torch's pool: more
    than `torch.get_num_threads` take turns.

    Attributes:
        operations: float32 operations of a call, of a multiplication with an addition two.
    """

    def __init__(self, threads: int, seconds: float = SECONDS / ROUNDS) -> None:
        """``seconds``: about how long a call shall take."""
        processor = host()
        self._threads = threads
        self._kernel = compile_ir(str(_emit(processor)), processor)
        lanes = _lanes(processor)
        self._numbers = torch.tensor([0.999, 0.001])
        self._results = torch.empty(threads, lanes)  # written, never read
        steps = 1000
        while (taken := min(self._seconds(1, steps) for _ in range(3))) < seconds / 2:
            steps *= 2
        self._steps = round(steps * seconds / taken)
        self.operations = 2.0 * self._steps * _chains(processor) * lanes * threads

    def _seconds(self, threads: int, steps: int) -> float:
        context = (ctypes.c_int64 * 3)(steps, self._numbers.data_ptr(), self._results.data_ptr())
        start = time.perf_counter()
        pool.run(self._kernel.run, threads, ctypes.addressof(context))
        return time.perf_counter() - start

    def __call__(self) -> float:
        """Seconds that it took."""
        return self._seconds(self._threads, self._steps)


def fma_peak(threads: int) -> float:
    """Billions of float32 operations in a second, the most of `ROUNDS` measurements."""
    call = Registers(threads)
    return call.operations / min(call() for _ in range(ROUNDS)) / 1e9


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
