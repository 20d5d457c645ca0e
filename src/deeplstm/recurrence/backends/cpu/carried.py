"""Rows that lie otherwise than those of all steps: of values that are carried from step to step, and of masks."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...program.graph import Node
from .batch import Batch, Table
from .compiled import Entry
from .plan import Address
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

    def begin(self, slots: Tensor, start: Tensor | None) -> None:
        """Put (B, n), in the caller's order, or zeros, where each row's first step reads it."""
        start = None if start is None else self.batch.sorted(start)
        self.batch.begin(slots, start, self.table, self.descending)

    def end(self, slots: Tensor) -> Tensor:
        """What each row's last step has written: (B, n), in the caller's order."""
        return self.batch.unsorted(self.batch.end(slots, self.table, self.descending))

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
