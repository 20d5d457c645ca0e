"""Kernels called one after another, in LLVM IR: from Python each call costs as much as some small kernels take."""

from __future__ import annotations

from functools import cache
from weakref import WeakValueDictionary

from llvmlite import ir

from .control import call_at, loop
from .host import host
from .kernels import Function, Loaded, machine_code
from .layout import KERNEL
from .memory import I64, PTR

SIGNATURE = ir.FunctionType(ir.VoidType(), [I64, I64, PTR])
"""Of all kernels."""

PER_CALL = 2
"""Numbers of each call: the function and its context."""


def emit() -> ir.Module:
    """The module whose function `KERNEL` (begin, end, calls) makes the calls begin to end, each of its kernel's only part."""
    module = ir.Module(name="deeplstm.drive")
    function = ir.Function(module, SIGNATURE, KERNEL)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    begin, end, calls = function.args
    with loop(b, begin, end, "call") as n:
        at = b.gep(calls, [b.mul(n, I64(PER_CALL))], source_etype=I64)
        kernel, context = (b.load(b.gep(at, [I64(k)], source_etype=PTR), typ=PTR) for k in range(PER_CALL))
        call_at(b, kernel, SIGNATURE, [I64(0), I64(1), context])
    b.ret_void()
    return module


class _Drive(Loaded):
    def __init__(self, engine: object) -> None:
        super().__init__(engine)
        self.run = Function(self.engine.get_function_address(KERNEL))


_known: WeakValueDictionary[str, _Drive] = WeakValueDictionary()


@cache
def _drive() -> _Drive:
    return machine_code("drive", lambda: str(emit()), host(), _known, _Drive, optimise=False)


def drive() -> Function:
    """It is in memory as long as the process lives."""
    return _drive().run
