"""Kernels called one after another, in LLVM IR, and copies between them: from Python each call costs as much as some small
kernels take.
"""

from __future__ import annotations

from llvmlite import ir

from .control import call_at, loop
from .layout import COPY, KERNEL, PER_CALL
from .memory import I8, I64, PTR

SIGNATURE = ir.FunctionType(ir.VoidType(), [I64, I64, PTR])
"""Of all kernels."""

CHUNK = 64
"""Bytes that are copied at a time."""


def emit() -> ir.Module:
    """The module whose function `KERNEL` (begin, end, calls) makes the calls begin to end, each of its kernel's only part; and
    `COPY`, a kernel that is told where to, where from (0: zeros), and how many bytes.
    """
    module = ir.Module(name="deeplstm.drive")
    _emit_copy(module)
    function = ir.Function(module, SIGNATURE, KERNEL)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    begin, end, calls = function.args
    with loop(b, begin, end, "call") as n:
        at = b.gep(calls, [b.mul(n, I64(PER_CALL))], source_etype=I64)
        kernel, context = (b.load(b.gep(at, [I64(k)], source_etype=PTR), typ=PTR) for k in range(PER_CALL))
        call_at(b, kernel, SIGNATURE, [I64(0), I64(1), context])
    b.ret_void()
    return module


def _emit_copy(module: ir.Module) -> None:
    function = ir.Function(module, SIGNATURE, COPY)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    context = function.args[2]
    to, source, size = (b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64) for n in range(3))
    is_zero = b.icmp_signed("==", source, I64(0))
    whole = b.mul(b.udiv(size, I64(CHUNK)), I64(CHUNK))
    for first, last, type in ((I64(0), b.udiv(size, I64(CHUNK)), ir.VectorType(I8, CHUNK)), (whole, size, I8)):
        step = CHUNK if first is not whole else 1
        with loop(b, first, last, "piece") as n:
            at = b.mul(n, I64(step))
            with b.if_else(is_zero) as (zeros, copied):
                with zeros:
                    b.store(ir.Constant(type, None), b.inttoptr(b.add(to, at), PTR)).align = 1
                with copied:
                    value = b.load(b.inttoptr(b.add(source, at), PTR), typ=type)
                    value.align = 1
                    b.store(value, b.inttoptr(b.add(to, at), PTR)).align = 1
    b.ret_void()
