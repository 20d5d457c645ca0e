"""Rows that lie otherwise than those of all steps: of values that are carried from step to step, and of masks."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...program.graph import Node
from .address import Address
from .batch import Batch, Table
from .compiled import Entry
from .plan import NOWHERE, Plan
from .space import Space


@dataclass(frozen=True)
class Carried:
    """Slots of rows: a step reads one of them and writes the next.

    Attributes:
        memory: where they lie, (`rows`, ``width``).
        table: which rows are a slot's.
        descending: whether the loop goes from the last step to the first.
    """

    memory: str
    width: int
    batch: Batch
    table: Table
    descending: bool

    @property
    def rows(self) -> int:
        """Of all slots."""
        return self.batch.B + (self.batch.rows if self.table is self.batch.slots else self.batch.B)

    def entries(self, read: str, written: str) -> dict[str, Entry]:
        """What a kernel reads and writes, by these names."""
        first, second = (written, read) if self.descending else (read, written)
        address = Address(self.memory)
        next_slot = self.table.address + ctypes.sizeof(ctypes.c_int64)
        return {first: (address, self.table.address), second: (address, next_slot)}

    def add_begin(self, plan: Plan, element_bytes: int) -> None:
        """Have a plan put what `begin` gives where each row's first step reads it."""
        if not self._ends_apart(self.descending):
            row = self.table.last if self.descending else 0
            plan.copy(self._row(row, element_bytes), Address(f"begin {self.memory}"), self._size(element_bytes))

    def begin(self, memory: dict[str, Tensor], start: Tensor | None) -> None:
        """Give (B, n), in the caller's order, or zeros, to a plan."""
        start = NOWHERE if start is None else self.batch.sorted(start).contiguous()
        if self._ends_apart(self.descending):
            memory[self.memory][self._last_rows] = 0 if start is NOWHERE else start
        else:
            memory[f"begin {self.memory}"] = start

    def add_end(self, plan: Plan, element_bytes: int) -> None:
        """Have a plan copy what each row's last step has written for `end`."""
        if not self._ends_apart(not self.descending):
            row = 0 if self.descending else self.table.last
            plan.copy(Address(f"end {self.memory}"), self._row(row, element_bytes), self._size(element_bytes))

    def make_end(self, memory: dict[str, Tensor], like: Tensor) -> None:
        """Give the room for that."""
        if not self._ends_apart(not self.descending):
            memory[f"end {self.memory}"] = like.new_empty(self.batch.B, self.width)

    def end(self, memory: Mapping[str, Tensor]) -> Tensor:
        """What each row's last step has written: (B, n), in the caller's order."""
        is_apart = self._ends_apart(not self.descending)
        found = memory[self.memory if is_apart else f"end {self.memory}"]
        return self.batch.unsorted(found[self._last_rows] if is_apart else found)

    def _ends_apart(self, descending: bool) -> bool:
        """Whether the rows that stand for the last steps lie in several slots, since lengths are unequal."""
        return descending and self.batch.lengths is not None

    @property
    def _last_rows(self) -> Tensor:
        assert self.batch.lengths is not None
        return self.table.rows[self.batch.lengths] + torch.arange(self.batch.B)

    def _row(self, row: int, element_bytes: int) -> Address:
        return Address(self.memory, row * self.width * element_bytes)

    def _size(self, element_bytes: int) -> int:
        return self.batch.B * self.width * element_bytes

    def put(self, space: Space, node: Node, *, written: bool) -> bool:
        """Let a node be what every step has written, or read. Returns whether its rows must be given, as `rows_of` has them."""
        if self._is_gathered(written):
            space.put(node.name)
            return True
        space.put_part(node.name, self.memory, self._first(written), self.width)
        return False

    def rows_of(self, slots: Tensor, *, written: bool) -> Tensor:
        """What every step has written, or read: (rows of all steps, n)."""
        if self._is_gathered(written):
            return slots.index_select(0, self.batch.past)
        return slots.narrow(0, self._first(written), self.batch.rows)

    def _first(self, written: bool) -> int:
        """The row that the first step's are in: slot 0, or the one after it."""
        return self.batch.B if written is not self.descending else 0

    def _is_gathered(self, written: bool) -> bool:
        """Whether a step's rows are spread over several slots: those of slot 0, of rows of unequal lengths."""
        return self.batch.lengths is not None and written is self.descending


class Masks:
    """Noise, by the names of `Call.noise`. A mask that is the same at every step is spread over all rows only for what comes
    before and after the loop.
    """

    def __init__(
        self, nodes: Mapping[str, Node], are_once: Mapping[str, bool], space: Space, needs: frozenset[str]
    ) -> None:
        self._nodes = nodes
        self._once = {name for name in nodes if are_once[name]}
        self._spread = {name for name in self._once if nodes[name].name in needs}
        for name, node in nodes.items():
            if name not in self._once or name in self._spread:
                space.put(node.name)

    def entries(self, batch: Batch) -> dict[str, Entry]:
        """Of those that are the same at every step."""
        return {self._nodes[n].name: (Address(f"once {n}"), batch.zeros.address) for n in self._once}

    def given(self, noise: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Their memory."""
        memory = {}
        for name, node in self._nodes.items():
            mask = noise[name]
            if name not in self._once:
                memory[node.name] = batch.enter(mask)
                continue
            memory[f"once {name}"] = one = batch.sorted(mask[0]).contiguous()
            if name in self._spread:
                memory[node.name] = batch.every_step(one)
        return memory
