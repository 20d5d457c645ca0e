"""Rows of all steps by name: addresses for a plan, tensors for whom asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import pool
from .address import Address

SKEW_BYTES = 320
"""Between values that lie in one block. Rows of a power of two would otherwise lie in the same places of the cache for all of
them, and drive each other out."""


class Block:
    """Values that lie one after another in one piece of memory.

    Attributes:
        memory: its name.
        size: in elements.
    """

    def __init__(self, memory: str, element_bytes: int) -> None:
        self.memory, self.element_bytes, self.size = memory, element_bytes, 0

    def add(self, elements: int) -> int:
        """Room for so many more. Returns where it begins, in elements."""
        start = self.size
        self.size += elements + SKEW_BYTES // self.element_bytes
        return start

    def add_bytes(self, size: int) -> Address:
        """Room for something else than elements."""
        start = self.add(-(-size // self.element_bytes))
        return Address(self.memory, start * self.element_bytes)

    def new(self, like: Tensor) -> Tensor:
        """The memory, (`size`,), from what is used again after the call and its backward."""
        return reused(like, self.size)


@dataclass(frozen=True)
class _Rows:
    """Where rows are found: in which memory, from which element on, and how far apart they are; None: nothing else is there."""

    memory: str
    start: int
    stride: int | None


class Lies(NamedTuple):
    """Where rows lie: their address, and how many numbers from one to the next."""

    at: int | Address
    stride: int


class Space:
    """Where the rows of one call lie.

    Attributes:
        rows: how many there are of all steps.
        at: addresses by name.
        made: names, widths, and whether of masks, of those that have memory of their own, which whoever runs the call makes.
        scratch: memory that kernels need while they run, one after another.
    """

    def __init__(self, rows: int, element_bytes: int) -> None:
        self.rows, self.element_bytes = rows, element_bytes
        self.at: dict[str, Address] = {}
        self.made: list[tuple[str, int, bool]] = []
        self._found: dict[str, _Rows] = {}
        self._scratch = 0

    def put(self, name: str) -> None:
        """Rows that are given under this name, (rows, n)."""
        self._put(name, _Rows(name, 0, None))

    def put_part(self, name: str, memory: str, row: int, width: int) -> None:
        """Rows that are some of those in a larger memory, as wide."""
        self._put(name, _Rows(memory, row * width, width))

    def put_block(self, memory: str, columns: Sequence[tuple[str, int]]) -> Block:
        """Rows side by side in memory that is given: names and widths."""
        block = Block(memory, self.element_bytes)
        for name, width in columns:
            self._put(name, _Rows(memory, block.add(self.rows * width), width))
        return block

    def make(self, name: str, width: int, is_bool: bool = False) -> None:
        """New ones, which may leave the call."""
        self.made.append((name, width, is_bool))
        self.put(name)

    def _put(self, name: str, found: _Rows) -> None:
        self._found[name] = found
        self.at[name] = Address(found.memory, found.start * self.element_bytes)

    def lies(self, name: str, column: int, width: int) -> Lies:
        """Where columns of rows are found, of rows that are ``width`` wide."""
        found = self._found[name]
        stride = width if found.stride is None else found.stride
        return Lies(self.at[name] + column * self.element_bytes, stride)

    def take_scratch(self, sizes: Sequence[int]) -> list[Address]:
        """Room for so many bytes each while one kernel runs."""
        block = Block("scratch", self.element_bytes)
        addresses = [block.add_bytes(size) for size in sizes]
        self._scratch = max(self._scratch, block.size)
        return addresses

    def new(self, like: Tensor) -> dict[str, Tensor]:
        """The memory for `made` and scratch."""
        memory = {name: new_rows(like, self.rows, width, is_bool) for name, width, is_bool in self.made}
        if self._scratch:
            memory["scratch"] = reused(like, self._scratch)
        return memory

    def __contains__(self, name: str) -> bool:
        return name in self.at

    def tensor(self, memory: Mapping[str, Tensor], name: str, column: int, width: int) -> Tensor:
        """Columns of rows, (rows, width)."""
        found = self._found[name]
        held = memory[found.memory]
        if found.stride is None:
            return held if held.shape[1] == width else held.narrow(1, column, width)
        start = held.storage_offset() + found.start + column
        return held.as_strided((self.rows, width), (found.stride, 1), start)


def block_size(rows: int, columns: Sequence[tuple[str, int]], element_bytes: int) -> int:
    """Elements of a block of so many rows."""
    return Space(rows, element_bytes).put_block("", columns).size


def new_rows(like: Tensor, rows: int, width: int, is_bool: bool = False) -> Tensor:
    return like.new_empty((rows, width), dtype=torch.bool if is_bool else like.dtype)


def reused_rows(like: Tensor, rows: int, width: int) -> Tensor:
    """Likewise, from memory that is used again: these must not leave the call and its backward."""
    return reused(like, rows * width).view(rows, width)


def reused(like: Tensor, size: int) -> Tensor:
    size_bytes = size * like.element_size()
    if size_bytes < pool.SMALL_BYTES:  # the system's allocator keeps it by itself
        return like.new_empty(size)
    return pool.POOL.take(size_bytes).view(like.dtype)


def own(rows: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Rows that leave the call: in one piece, and not part of other memory."""
    shared = {t.untyped_storage().data_ptr() for t in others}
    return rows.clone() if rows.untyped_storage().data_ptr() in shared else rows.contiguous()
