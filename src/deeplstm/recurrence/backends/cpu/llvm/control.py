"""Loops in LLVM IR, written as they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from .memory import I64


@contextmanager
def loop(b: ir.IRBuilder, start: ir.Value | int, end: ir.Value | int, name: str = "i") -> Iterator[ir.Value]:
    """``for i in range(start, end)``, not entered where that is empty."""
    first, last = (v if isinstance(v, ir.Value) else I64(v) for v in (start, end))
    before = b.block
    head, body, after = (b.append_basic_block(f"{name}.{part}") for part in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64, name=name)
    index.add_incoming(first, before)
    b.cbranch(b.icmp_signed("<", index, last), body, after)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, I64(1)), b.block)
    b.branch(head)
    b.position_at_end(after)


@contextmanager
def until_negative(b: ir.IRBuilder, take: Callable[[], ir.Value]) -> Iterator[tuple[ir.Value, ir.Value]]:
    """``while (value := take()) >= 0``; with it how many values were taken before, which afterwards is how many there were."""
    before = b.block
    head, body, after = (b.append_basic_block(f"take.{part}") for part in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    count = b.phi(I64, name="count")
    count.add_incoming(I64(0), before)
    value = take()
    b.cbranch(b.icmp_signed(">=", value, I64(0)), body, after)
    b.position_at_end(body)
    yield value, count
    count.add_incoming(b.add(count, I64(1)), b.block)
    b.branch(head)
    b.position_at_end(after)


def least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


def either(b: ir.IRBuilder, condition: ir.Value, emit: Callable[[bool], None]) -> None:
    """``emit(True) if condition else emit(False)``"""
    with b.if_else(condition) as branches:
        for branch, is_true in zip(branches, (True, False), strict=True):
            with branch:
                emit(is_true)


class _At:
    """A function that lies at an address, for `ir.IRBuilder.call`."""

    def __init__(self, address: ir.Value, signature: ir.FunctionType) -> None:
        self.type, self.function_type, self.get_reference = address.type, signature, address.get_reference


def call_at(b: ir.IRBuilder, address: ir.Value, signature: ir.FunctionType, arguments: Sequence[ir.Value]) -> None:
    """Call a function that another module has."""
    b.call(_At(address, signature), arguments)


def accumulate(
    b: ir.IRBuilder,
    steps: ir.Value,
    start: Sequence[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """``for k in range(steps): values = body(k, values)``; the values stay in registers."""
    before = b.block
    head, block, after = (b.append_basic_block(f"k.{part}") for part in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    k = b.phi(I64, name="k")
    k.add_incoming(I64(0), before)
    values = [b.phi(v.type) for v in start]
    for phi, v in zip(values, start, strict=True):
        phi.add_incoming(v, before)
    b.cbranch(b.icmp_signed("<", k, steps), block, after)
    b.position_at_end(block)
    results = body(k, list(values))
    k.add_incoming(b.add(k, I64(1)), b.block)
    for phi, v in zip(values, results, strict=True):
        phi.add_incoming(v, b.block)
    b.branch(head)
    b.position_at_end(after)
    return list(values)
