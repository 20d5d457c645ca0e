"""Rows of all steps at once: what comes before a loop and after it, compiled as loops are.

No row waits for another one, so that what a loop takes for its steps are blocks of rows here: as many as stay in the second
cache while each panel of weights passes by. The bits of a row do not depend on the block or the thread it falls to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from ...program.graph import Node
from ...program.split import at_once
from ...program.stages import Buffer, Columns, Place
from . import batch as batches
from .compiled import CompiledLoop
from .llvm.elements import BYTES, Element
from .plan import Plan
from .space import Space

CACHED_BYTES = 384 * 1024
"""Rows that a thread goes through at a time, the widest that a product reads; the weights pass by once for all of them."""

FEWEST_ROWS, MOST_ROWS = 48, 192
"""Of a block: with fewer, reading the weights would take longer than using them."""


class Flat:
    """Values of all rows, as machine code.

    Args:
        results: nodes that are wanted.
        available: nodes, besides leaves, whose rows are in memory already.
        wholes: available ones that are columns of something wider.
        kept_at: where results are to lie side by side; the others have rows of their own.

    Attributes:
        places: where each result is found.
        reads, writes: names of the rows that `run` reads, and of the ones that it makes.
    """

    def __init__(
        self,
        results: Sequence[Node],
        available: Collection[Node],
        element: Element,
        *,
        wholes: Sequence[Columns] = (),
        kept_at: Sequence[Columns] = (),
        identity: str = "",
    ) -> None:
        split = at_once(results, available)
        self.compiled = CompiledLoop(split, element, wholes=wholes, kept_at=kept_at, identity=identity)
        self.places: dict[Node, Place] = self.compiled.loop.kept
        self._made: list[Buffer] = list(dict.fromkeys(place.buffer for place in self.places.values()))
        self.writes = frozenset(b.name for b in self._made)
        self.reads = frozenset(b.name for b in self.compiled.loop.buffers if b.steps) - self.writes
        widest = max((i.width for s in self.compiled.loop.stages for i in s.groups), default=1)
        self._most = min(MOST_ROWS, max(FEWEST_ROWS, CACHED_BYTES // (widest * BYTES[element])))

    def add_to(self, plan: Plan, space: Space) -> None:
        """Have a plan compute what is written; what has no place yet gets memory that may leave the call."""
        for buffer in self._made:
            if buffer.name not in space:
                space.make(buffer.name, buffer.width, buffer.is_bool)
        batch = batches.blocks(space.rows, self._most, torch.get_num_threads())
        self.compiled.add_to(plan, space, batch, descending=False)

    @property
    def block(self) -> list[tuple[str, int]]:
        """What is written, but for masks: names and widths."""
        return [(b.name, b.width) for b in self._made if not b.is_bool]
