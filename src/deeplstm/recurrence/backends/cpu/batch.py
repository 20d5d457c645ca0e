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


@dataclass(frozen=True)
class Batch:
    """T steps of B rows.

    Attributes:
        active: (T,) int64, how many rows (the first ones) have each step.
        steps: (T + 1,) int64, rows of the steps before each.
        slots: (T + 1,) int64, rows before each slot of a carried value: slot 0 has B rows, slot t + 1 those of step t.
        turns: (T + 1,) int64, the same where two slots of B rows take turns.
        zeros: (T + 1,) int64, the same where one slot stands for all steps.
        lengths: (B,) int64, sorted from the longest row down; None where all are T.
        order: (B,) the caller's number of each sorted row; None where they stand in order.
        is_packed: whether the caller's rows lie as ours do.
    """

    T: int
    B: int
    active: Tensor
    steps: Tensor
    slots: Tensor
    turns: Tensor
    zeros: Tensor
    lengths: Tensor | None = None
    order: Tensor | None = None
    is_packed: bool = False

    @cached_property
    def rows(self) -> int:
        """Of all steps together."""
        return int(self.steps[-1])

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
        row = torch.arange(self.rows) - self.steps[:-1].repeat_interleave(self.active)
        return self.slots[:-1].repeat_interleave(self.active) + row

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
            return one.expand(self.T, *one.shape).reshape(self.rows, -1)
        row = torch.arange(self.rows) - self.steps[:-1].repeat_interleave(self.active)
        return one.index_select(0, row)

    # ---------------------------------------------------------------- what is carried from step to step

    def begin(self, slots: Tensor, start: Tensor, table: Tensor, descending: bool) -> None:
        """Put (B, n) where each row's first step reads it."""
        if not descending:
            slots[: self.B] = start
        elif self.lengths is None:
            first = int(table[self.T])
            slots[first : first + self.B] = start
        else:
            slots[self._last(table)] = start

    def end(self, slots: Tensor, table: Tensor, descending: bool) -> Tensor:
        """What each row's last step has written: (B, n)."""
        if descending:
            return slots[: self.B].clone()
        if self.lengths is None:
            first = int(table[self.T])
            return slots[first : first + self.B].clone()
        return slots[self._last(table)]

    def _last(self, table: Tensor) -> Tensor:
        assert self.lengths is not None
        return table[self.lengths] + torch.arange(self.B)


@lru_cache(maxsize=64)
def full(T: int, B: int) -> Batch:
    """Every row has all steps."""
    steps = torch.arange(0, (T + 1) * B, B)
    return Batch(T, B, torch.full((T,), B), steps, steps, *_short_tables(T, B))


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


def _of_active(T: int, B: int, active: Tensor, lengths: Tensor, order: Tensor | None, is_packed: bool) -> Batch:
    steps = torch.zeros(T + 1, dtype=torch.int64)
    torch.cumsum(active, 0, out=steps[1:])
    slots = steps.new_zeros(T + 1)
    slots[1:] = steps[:-1] + B
    return Batch(T, B, active, steps, slots, *_short_tables(T, B), lengths, order, is_packed)


def _short_tables(T: int, B: int) -> tuple[Tensor, Tensor]:
    return (torch.arange(T + 1) % 2) * B, torch.zeros(T + 1, dtype=torch.int64)
