"""Rows of all steps at once: what comes before a loop and after it, compiled as loops are.

No row waits for another one, so that what a loop takes for its steps are blocks of rows here: as many as stay in the second
cache while each panel of weights passes by. The bits of a row do not depend on the block or the thread it falls to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...program.graph import Node
from ...program.split import at_once
from ...program.stages import Buffer, Columns, Place
from . import batch as batches
from .compiled import CompiledLoop
from .memory import BYTES, Element

CACHED_BYTES = 384 * 1024
"""Rows that a thread goes through at a time, the widest that a product reads; the weights pass by once for all of them."""

FEWEST_ROWS, MOST_ROWS = 48, 192
"""Of a block: with fewer, reading the weights would take longer than using them."""


class Flat:
    """Values of all rows, as machine code.

    Args:
        results: nodes that are wanted.
        available: nodes, besides leaves, whose rows are in memory already.
        weights: leaves that are the same for all rows.
        wholes: available ones that are columns of something wider.
        kept_at: where results are to lie side by side; the others have rows of their own.

    Attributes:
        places: where each result is found.
        reads, writes: names of the rows that `run` is given, and those of the ones it makes.
    """

    def __init__(
        self,
        results: Sequence[Node],
        available: Collection[Node],
        element: Element,
        weights: Sequence[Node],
        *,
        wholes: Sequence[Columns] = (),
        kept_at: Sequence[Columns] = (),
        identity: str = "",
    ) -> None:
        split = at_once(results, available)
        self.compiled = CompiledLoop(split, element, weights, wholes=wholes, kept_at=kept_at, identity=identity)
        self.places: dict[Node, Place] = self.compiled.loop.kept
        self._made: list[Buffer] = list(dict.fromkeys(place.buffer for place in self.places.values()))
        self.writes = frozenset(b.name for b in self._made)
        self.reads = frozenset(b.name for b in self.compiled.loop.buffers if b.steps) - self.writes
        widest = max((i.width for s in self.compiled.loop.stages for i in s.groups), default=1)
        self._most = min(MOST_ROWS, max(FEWEST_ROWS, CACHED_BYTES // (widest * BYTES[element])))

    def run(
        self, given: Mapping[str, Tensor], weights: Mapping[Node, Tensor], rows: int, like: Tensor
    ) -> dict[str, Tensor]:
        """(rows, n) each, by name, of at least ``reads`` -> of all that is written."""
        batch = batches.blocks(rows, self._most, torch.get_num_threads())
        at = batch.steps.address
        made = {b.name: new_rows(like, rows, b.width, b.is_bool) for b in self._made}
        buffers: dict[str, Any] = {name: (given[name], at) for name in self.reads}
        buffers |= {name: (tensor, at) for name, tensor in made.items()}
        self.compiled.run(batch, False, buffers, weights, like)
        return made


def new_rows(like: Tensor, rows: int, width: int, is_bool: bool = False) -> Tensor:
    return like.new_empty((rows, width), dtype=torch.bool if is_bool else like.dtype)


def columns(rows: Mapping[str, Tensor], place: Place, width: int) -> Tensor:
    """What lies at a place."""
    whole = rows[place.buffer.name]
    return whole if whole.shape[1] == width else whole.narrow(1, place.column, width)
