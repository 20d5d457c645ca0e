"""Which rows have which steps, and where in memory they lie.

The rows of all steps lie one after another, those of step 0 first. Where lengths are unequal the rows of the batch are sorted,
the longest first, so that those which have a step are always the first ones; a step has no room for the others: nothing is
computed for them, and nothing that sums over rows has to leave them out. This is torch's packed layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor


class Table:
    """Numbers of rows, by step: (T + 1,) int64. ``address`` is what kernels are told of it."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.address = rows, rows.data_ptr()
        self.last = int(rows[-1])


@dataclass(frozen=True)
class Batch:
    """T steps of B rows.

    Attributes:
        active: how many rows (the first ones) have each step; of T numbers.
        steps: rows of the steps before each.
        slots: rows before each slot of a carried value: slot 0 has B rows, slot t + 1 those of step t.
        turns: the same where two slots of B rows take turns.
        zeros: the same where one slot stands for all steps.
        lengths: (B,) int64, sorted from the longest row down; None where all are T.
        order: (B,) the caller's number of each sorted row; None where they stand in order.
        is_packed: whether the caller's rows lie as ours do.
    """

    T: int
    B: int
    active: Table
    steps: Table
    slots: Table
    turns: Table
    zeros: Table
    lengths: Tensor | None = None
    order: Tensor | None = None
    is_packed: bool = False

    @cached_property
    def rows(self) -> int:
        """Of all steps together."""
        return self.steps.last

    @cached_property
    def counts(self) -> list[int] | None:
        """Steps of each sorted row; None where all have T."""
        return None if self.lengths is None else self.lengths.tolist()

    @cached_property
    def inside(self) -> Tensor:
        """(rows,): the number of each row in a padded (T * B)."""
        assert self.lengths is not None
        within = torch.arange(self.T)[:, None] < self.lengths  # (T, B)
        if self.order is None:
            return within.view(-1).nonzero()[:, 0]
        numbers = torch.arange(self.T)[:, None] * self.B + self.order
        return numbers[within]

    @cached_property
    def past(self) -> Tensor:
        """(rows,): the row of the slots that holds what the step number of each row counts from: slot t for step t."""
        assert self.lengths is not None
        return self.slots.rows[:-1].repeat_interleave(self.active.rows) + self._row_of_its_step

    @cached_property
    def _row_of_its_step(self) -> Tensor:
        return torch.arange(self.rows) - self.steps.rows[:-1].repeat_interleave(self.active.rows)

    def enter(self, given: Tensor) -> Tensor:
        """Rows of every step as the caller has them -> (rows, n)."""
        if self.is_packed:
            return given.contiguous()
        flat = given.reshape(self.T * self.B, -1)
        return flat.contiguous() if self.lengths is None else flat.index_select(0, self.inside)

    def leave(self, rows: Tensor) -> Tensor:
        """(rows, n) as the caller wants them: (T, B, n), zero beyond the lengths."""
        if self.is_packed:
            return rows
        if self.lengths is None:
            return rows.view(self.T, self.B, -1)
        padded = rows.new_zeros(self.T * self.B, rows.shape[1])
        return padded.index_copy_(0, self.inside, rows).view(self.T, self.B, -1)

    def sorted(self, one: Tensor) -> Tensor:
        """(B, n) in the order in which rows lie here."""
        return one if self.order is None else one.index_select(0, self.order)

    def unsorted(self, one: Tensor) -> Tensor:
        return one if self.order is None else torch.empty_like(one).index_copy_(0, self.order, one)

    def every_step(self, one: Tensor) -> Tensor:
        """(B, n), the same at every step -> (rows, n)."""
        if self.lengths is None:
            return one.expand(self.T, *one.shape).reshape(self.rows, -1).contiguous()  # of one row it is a view
        return one.index_select(0, self._row_of_its_step)


@lru_cache(maxsize=64)
def full(T: int, B: int) -> Batch:
    """Every row has all steps."""
    steps = Table(torch.arange(0, (T + 1) * B, B))
    return Batch(T, B, Table(torch.full((T,), B)), steps, steps, *_short_tables(T, B))


@lru_cache(maxsize=256)
def blocks(rows: int, most: int, threads: int) -> Batch:
    """Rows of which none waits for another, in blocks: what are steps elsewhere. A block has at most so many rows a thread."""
    each = -(-rows // threads)
    count = -(-each // most)
    size = min(rows, -(-each // count) * threads)
    starts = torch.arange(0, rows + size, size).clamp_(max=rows)[: -(-rows // size) + 1].contiguous()
    return _of_active(len(starts) - 1, size, starts.diff(), None, None, is_packed=True)


def unequal(T: int, B: int, lengths: Tensor) -> Batch:
    """Rows of these lengths (B,), in any order."""
    order = None
    if bool((lengths[1:] > lengths[:-1]).any()):
        order = lengths.argsort(descending=True, stable=True)
        lengths = lengths[order]
    active = (lengths[None] > torch.arange(T)[:, None]).sum(1)
    return _of_active(T, B, active, lengths, order, is_packed=False)


def packed(active: Tensor) -> Batch:
    """Rows as torch packs them: ``active`` (T,), the batch size of every step."""
    T, B = len(active), int(active[0])
    lengths = (active[None] > torch.arange(B)[:, None]).sum(1)
    return _of_active(T, B, active, lengths, None, is_packed=True)


def _of_active(T: int, B: int, active: Tensor, lengths: Tensor | None, order: Tensor | None, is_packed: bool) -> Batch:
    steps = torch.zeros(T + 1, dtype=torch.int64)
    torch.cumsum(active, 0, out=steps[1:])
    slots = steps.new_zeros(T + 1)
    slots[1:] = steps[:-1] + B
    return Batch(T, B, Table(active), Table(steps), Table(slots), *_short_tables(T, B), lengths, order, is_packed)


def _short_tables(T: int, B: int) -> tuple[Table, Table]:
    return Table((torch.arange(T + 1) % 2) * B), Table(torch.zeros(T + 1, dtype=torch.int64))
