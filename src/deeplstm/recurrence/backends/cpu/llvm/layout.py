"""What a kernel is told: where its buffers and weights lie, and how the weights are packed."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from ....program import free
from ....program.graph import Node
from ....program.stages import Buffer, Loop, Stage
from .elements import Element, Lanes, lanes_of
from .host import Host
from .libraries import Library, Packing
from .tiles import Tiling, chains, tiling

HEADER = 8
"""Entries of the context before its buffers: T, first step, direction, active rows of each step, rows of each thread,
packed weights, whether there is only one row, in how many parts the weights are packed."""
PACKED, IS_SINGLE, PARTS = 5, 6, 7
PER_BUFFER = 2
"""Address, and the address of a table: at place t the number of the first row of step t."""

KERNEL, PREPARE, COPY = "run", "prepare", "copy"

PER_CALL = 2
"""Of a list of kernels to call (`drive.py`): the function and its context."""


class Packed(NamedTuple):
    """A stage's products and where their packed weights lie: one panel after another, and in a panel one pass after another,
    in the order in which they are read.

    Attributes:
        stage, tile: what is packed, and how it is cut.
        start: of the first panel, in elements.
        passes: where each pass starts in a panel.
        panel: elements of one panel.
    """

    stage: Stage
    tile: Tiling
    start: int
    passes: tuple[int, ...]
    panel: int


class Layout(NamedTuple):
    """What a kernel's context holds, after its header.

    Attributes:
        buffers: in order, `PER_BUFFER` entries each.
        sources: weights, and what torch computes of them, contiguous, an address each.
        packed: of every stage with products.
        packed_size: elements of all packed weights.
        libraries: that are called, the address of each one's table.
        has_masks: see `Host`.
        chains: see `tiles.chains`.
    """

    buffers: tuple[Buffer, ...]
    sources: tuple[Node, ...]
    packed: tuple[Packed, ...]
    packed_size: int
    libraries: tuple[Library, ...]
    element: Element
    lanes: int
    has_masks: bool
    chains: int

    def buffer_at(self, buffer: Buffer) -> int:
        return HEADER + PER_BUFFER * self.buffers.index(buffer)

    def source_at(self, node: Node) -> int:
        return HEADER + PER_BUFFER * len(self.buffers) + self.sources.index(node)

    def library_at(self, library: Library) -> int:
        return HEADER + PER_BUFFER * len(self.buffers) + len(self.sources) + self.libraries.index(library)


def layout(program: Loop, element: Element, host: Host) -> Layout:
    """What a loop's kernel needs to be told."""
    lanes = lanes_of(element, host)
    nodes = [*program.split.loop, *program.split.following]
    sources = dict.fromkeys(free.view_of(n)[0] for node in nodes for n in node.inputs if n.kind == "free")
    packed: list[Packed] = []
    at = 0
    for stage in program.stages:
        if not stage.groups:
            continue
        tile = tiling(stage, Lanes(element, lanes), host, waits=bool(program.carried))
        sizes = [p.input.width * len(p.linears) * tile.vectors * lanes for p in tile.passes]
        packed.append(Packed(stage, tile, at, tuple(accumulate(sizes[:-1], initial=0)), sum(sizes)))
        at += tile.panels * sum(sizes)
    products = dict.fromkeys(p.tile.product(done, element) for p in packed for done in p.tile.passes)
    libraries: tuple[Library, ...] = (Packing(element), *products) if packed else ()
    totals = set(program.totals.values())
    # those that are only used inside a loop come last
    buffers = tuple(sorted(program.buffers, key=lambda b: not b.steps and b not in totals))
    return Layout(buffers, tuple(sources), tuple(packed), at, libraries, element, lanes, host.has_masks, chains(host))
