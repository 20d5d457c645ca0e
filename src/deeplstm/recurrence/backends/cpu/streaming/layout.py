"""How a step's weights are packed for few rows, and what its kernel is told.

With one row a product is as fast as its weights can be read. So they lie in the order in which they are read, as one stream:
for each stage, for each panel of columns, for each pass over the numbers of a row, for each of these numbers its weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....program import free
from ....program.graph import Node
from ....program.stages import Buffer, Loop, Stage
from ..llvm.host import Host
from ..llvm.memory import Element

MOST_VECTORS = 4
"""Vectors of columns that one pass fills: so many sums that do not wait for each other."""

HEADER = 8
COUNTER, X, Y, STEPS, PACKED, MAILBOX, COUNTERS, TABLE = range(HEADER)
"""Entries of the context before its buffers: steps done so far, input and output of this call, its steps, weights, the mailbox
of who helps (0: nobody), where two threads count what they do, the table of a leading embedding."""

LINE = 8
"""From one of these counters to the next: a cache line each."""
DONE = 0
"""The counter of what is done; after it each stage with products has two, of the panels that are taken of each half."""


@dataclass(frozen=True)
class Pass:
    """Linears that read the same rows, done in one go over K.

    Attributes:
        input: rows (K,).
        linears: each with the same number of columns.
        first: number of the first of them among the stage's linears.
        start: where its weights start in a panel, in elements.
    """

    input: Node
    linears: tuple[Node, ...]
    first: int
    start: int


@dataclass(frozen=True)
class Packed:
    """A stage's products.

    Attributes:
        vectors: of columns, of each linear, in a panel.
        panels: how many there are.
        start, panel_size: where the first panel is among all weights, and how long each is, in elements.
    """

    stage: Stage
    passes: tuple[Pass, ...]
    vectors: int
    panels: int
    start: int
    panel_size: int

    @property
    def linears(self) -> int:
        return sum(len(p.linears) for p in self.passes)


@dataclass(frozen=True)
class Layout:
    """What a step's kernel is told, after its header: two addresses of each buffer (at even steps, at odd ones), then sources.

    Attributes:
        element: of states and of what is computed.
        weights: as which the weights of products are kept.
        sources: weights that are no product's, contiguous, an address each.
        packed: of every stage with products.
        size: elements of all packed weights.
    """

    loop: Loop
    element: Element
    weights: Element
    lanes: int
    sources: tuple[Node, ...]
    packed: tuple[Packed, ...]
    size: int

    def buffer_at(self, buffer: Buffer) -> int:
        return HEADER + 2 * self.loop.buffers.index(buffer)

    def source_at(self, node: Node) -> int:
        return HEADER + 2 * len(self.loop.buffers) + self.sources.index(node)

    @property
    def entries(self) -> int:
        return HEADER + 2 * len(self.loop.buffers) + len(self.sources)

    @property
    def counters(self) -> int:
        return DONE + 1 + 2 * len(self.packed)

    def counter_at(self, packed: Packed) -> int:
        """The first of a stage's two."""
        return DONE + 1 + 2 * self.packed.index(packed)

    @property
    def linears(self) -> list[Node]:
        """Every linear, in the order in which `pack` takes their weights."""
        return [n for packed in self.packed for p in packed.passes for n in p.linears]

    def of(self, stage: Stage) -> Packed | None:
        return next((p for p in self.packed if p.stage is stage), None)

    def pack(self, weights: list[Tensor], dtype: torch.dtype) -> Tensor:
        """The weights (K, n) of `linears`, as the kernel reads them. A buffer of its own each time."""
        packed = torch.zeros(self.size, dtype=dtype)
        given = iter(weights)
        pair = 2 if self.weights == "bfloat16" else 1
        for stage in self.packed:
            columns = stage.vectors * self.lanes
            for done in stage.passes:
                K, count = done.input.width, len(done.linears)
                steps = -(-K // pair)
                for n in range(count):
                    target = packed.as_strided(
                        (stage.panels, steps, columns, pair),
                        (stage.panel_size, count * columns * pair, pair, 1),
                        stage.start + done.start + n * columns * pair,
                    )
                    weight = next(given)
                    whole = weight.new_zeros(steps * pair, stage.panels * columns)
                    whole[:K, : weight.shape[1]] = weight
                    target.copy_(whole.view(steps, pair, stage.panels, columns).permute(2, 0, 3, 1))
        return packed


def layout(loop: Loop, element: Element, weights: Element, host: Host) -> Layout:
    """Lay out a step."""
    lanes = host.vector_bytes // (8 if element == "float64" else 4)
    pair = 2 if weights == "bfloat16" else 1
    packed, at = [], 0
    for stage in loop.stages:
        if not stage.groups:
            continue
        columns = -(-stage.width // lanes)
        groups = [part for linears in stage.groups.values() for part in _parts(linears)]
        vectors = min(columns, max(1, MOST_VECTORS // max(len(g) for g in groups)))
        passes, first, start = [], 0, 0
        for linears in groups:
            passes.append(Pass(linears[0].args[0], linears, first, start))
            first += len(linears)
            start += -(-linears[0].args[0].width // pair) * pair * len(linears) * vectors * lanes
        panels = -(-columns // vectors)
        packed.append(Packed(stage, tuple(passes), vectors, panels, at, start))
        at += panels * start
    read = (n for stage in loop.stages for n in loop.work_of(stage)[1] if n.kind == "free")
    sources = dict.fromkeys(free.view_of(n)[0] for n in read)
    return Layout(loop, element, weights, lanes, tuple(sources), tuple(packed), at)


def _parts(linears: list[Node]) -> list[tuple[Node, ...]]:
    """At most `MOST_VECTORS` each, as equal as can be."""
    parts = -(-len(linears) // MOST_VECTORS)
    return [tuple(linears[len(linears) * n // parts : len(linears) * (n + 1) // parts]) for n in range(parts)]
