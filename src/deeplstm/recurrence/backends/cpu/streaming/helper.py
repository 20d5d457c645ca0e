"""A second thread that helps with steps: whenever it gets a turn, and never waited for before it has begun.

A step of some dozens of microseconds is too short to wake anyone. So the helper watches a mailbox for a while after each step
before it goes to sleep; and what it has not begun when the caller is done with its own half, the caller does.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from threading import Lock, Thread
from time import perf_counter_ns
from typing import Any
from weakref import WeakValueDictionary

import llvmlite.binding as llvm
import torch
from llvmlite import ir
from torch import Tensor

from ..llvm import kernels
from ..llvm.host import host
from ..llvm.memory import I32, I64, PTR

STATE, FUNCTION, ARGUMENT, ASLEEP, CALLS = 0, 1, 2, 8, 9
"""Entries of the mailbox: whether there is work, the function and its argument, in the same cache line since they are read
together; whether the helper must be woken, how often it has come."""
OPEN, INSIDE, LEFT, CLOSED, TAKEN = range(5)
"""States: work that the helper may come to; the helper is at it; it is done with it; no work; a caller is about to put work
in. Who finds it closed may take it, and closes it again."""

OFFER = "deeplstm_offer"
"""What generated code calls to give the processor to another thread."""
PATIENCE = 256
"""Looks, some 10 microseconds, after which a waiting thread offers the processor to others."""
WATCH_NS = 400_000
"""For so long the helper looks at a mailbox without work before it goes to sleep."""
WATCH = 8192
"""Looks that it does so at first. How long a look takes is up to the processor, some 50 nanoseconds or much less."""


# ---------------------------------------------------------------- generated


def emit_wait(module: ir.Module) -> ir.Function:
    """``wait(counter, target)``: until the counter is at least the target."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64]), "wait")
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    counter, target = function.args
    entry = b.block
    look, again, done = (b.append_basic_block(n) for n in ("look", "again", "done"))
    b.branch(look)
    b.position_at_end(look)
    looks = b.phi(I64)
    looks.add_incoming(I64(0), entry)
    now = b.load_atomic(counter, "acquire", 8)
    b.cbranch(b.icmp_signed(">=", now, target), done, again)
    b.position_at_end(again)
    after = b.add(looks, I64(1))
    _rest(b, after)
    looks.add_incoming(after, b.block)
    b.branch(look)
    b.position_at_end(done)
    b.ret_void()
    return function


def _rest(b: ir.IRBuilder, looks: ir.Value) -> None:
    """Between two looks: leave the core's units to its other thread, now and then the core to other threads."""
    triple = llvm.get_process_triple()
    if triple.startswith(("x86_64", "i686")):
        b.call(_declared(b.module, "llvm.x86.sse2.pause", ir.VoidType()), [])
    elif triple.startswith(("aarch64", "arm64")):
        b.call(_declared(b.module, "llvm.aarch64.hint", ir.VoidType(), I32), [I32(1)])
    with b.if_then(b.icmp_signed("==", b.urem(looks, I64(PATIENCE)), I64(0)), likely=False):
        b.call(_declared(b.module, OFFER, I32), [])


def _declared(module: ir.Module, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def _emit_serve() -> str:
    """``serve(mailbox, limit)``: do what work comes, until none has come for so many looks."""
    module = ir.Module(name="deeplstm_helper")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64]), "serve")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    mailbox, limit = function.args
    at = lambda n: b.gep(mailbox, [I64(n)])  # noqa: E731
    entry = b.block
    look, come, work, again, sleep = (b.append_basic_block(n) for n in ("look", "come", "work", "again", "sleep"))
    b.branch(look)
    b.position_at_end(look)
    looks = b.phi(I64)
    looks.add_incoming(I64(0), entry)
    b.cbranch(b.icmp_signed("==", b.load_atomic(mailbox, "acquire", 8), I64(OPEN)), come, again)
    b.position_at_end(come)
    claimed = b.cmpxchg(mailbox, I64(OPEN), I64(INSIDE), "acq_rel", "acquire")
    b.cbranch(b.extract_value(claimed, 1), work, again)
    b.position_at_end(work)
    job = b.inttoptr(b.load(at(FUNCTION)), ir.FunctionType(ir.VoidType(), [PTR]).as_pointer())
    b.call(job, [b.inttoptr(b.load(at(ARGUMENT)), PTR)])
    b.store(b.add(b.load(at(CALLS)), I64(1)), at(CALLS))
    b.store_atomic(I64(LEFT), mailbox, "release", 8)
    looks.add_incoming(I64(0), b.block)
    b.branch(look)
    b.position_at_end(again)
    after = b.add(looks, I64(1))
    _rest(b, after)
    looks.add_incoming(after, b.block)
    b.cbranch(b.icmp_signed("<", after, limit), look, sleep)
    b.position_at_end(sleep)
    b.store_atomic(I64(1), at(ASLEEP), "release", 8)
    b.ret_void()
    return str(module).replace("i64*", "ptr").replace("void (ptr)*", "ptr")


# ---------------------------------------------------------------- the thread


class Helper:
    """The thread. Kernels put its work into the mailbox, one at a time.

    Attributes:
        address: of the mailbox.
        asleep: of which ``value`` is not 0 when there is a need to `wake` it. It begins asleep.
    """

    def __init__(self) -> None:
        self.mailbox, self.address = lines(2)
        self.asleep = ctypes.c_int64.from_address(self.address + 8 * ASLEEP)
        declare()
        text = _emit_serve()
        self._code = kernels.machine_code(text, lambda: text, host(), _compiled, _Serve)
        self.begin()

    def begin(self) -> None:
        """Nobody has asked for it yet, nor is there a thread."""
        self._waking, self._bell = Lock(), Lock()
        self._bell.acquire()
        self._thread: Thread | None = None
        self.asleep.value = 1
        ctypes.c_int64.from_address(self.address + 8 * STATE).value = CLOSED

    def _live(self) -> None:
        serve, address, bell, looks = self._code.call, self.address, self._bell, WATCH
        while True:
            before, start = self.calls, perf_counter_ns()
            serve(address, looks)
            if self.calls == before:  # the quickest watch without work says how long a look takes
                looks = max(looks, WATCH_NS * looks // (perf_counter_ns() - start))
            bell.acquire()

    @property
    def calls(self) -> int:
        """How often it has come to help."""
        return ctypes.c_int64.from_address(self.address + 8 * CALLS).value

    def wake(self) -> None:
        """Have the helper watch the mailbox."""
        with self._waking:
            if not self.asleep.value:
                return
            self.asleep.value = 0
            if self._thread is not None:
                self._bell.release()
                return
            # a daemon: it has nothing to finish when the program ends
            self._thread = Thread(target=self._live, name="deeplstm-stream", daemon=True)
            self._thread.start()


class _Serve(kernels.Loaded):
    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("serve"))


_compiled: WeakValueDictionary[str, _Serve] = WeakValueDictionary()


@cache
def helper() -> Helper:
    """The process's one: what two would share are the same cores."""
    return Helper()


def _in_child() -> None:
    """Threads do not come along into a forked child, nor does who was using the mailbox."""
    if helper.cache_info().currsize:
        helper().begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def lines(count: int) -> tuple[Tensor, int]:
    """So many cache lines of zeros: what holds them, and the address of the first."""
    memory = torch.zeros(8 * (count + 1), dtype=torch.int64)
    return memory, (memory.data_ptr() + 63) // 64 * 64


@cache
def declare() -> None:
    """Tell LLVM where what generated code calls is."""
    if sys.platform == "win32":
        offer = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        offer = ctypes.CDLL(None).sched_yield
    llvm.add_symbol(OFFER, ctypes.cast(offer, ctypes.c_void_p).value)
