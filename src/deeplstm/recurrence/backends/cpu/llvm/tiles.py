"""How the products of a stage are cut: into panels of columns, blocks of rows, and chunks of K."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ....program.graph import Node
from ....program.stages import Stage
from .elements import BYTES, Element, Lanes
from .host import Host
from .libraries import Products, most_rows

if TYPE_CHECKING:
    from llvmlite import ir

LARGE_BYTES = 1024 * 1024
"""Packed weights of a stage above which they are taken to come from beyond the second cache at every step. Then a panel is
narrow, for as many rows as can be while it comes, and the next one is asked for meanwhile."""

MOST_VECTORS, MOST_VECTORS_FEW, MOST_VECTORS_LARGE = 4, 3, 2
"""Vectors of columns that one pass over a row's numbers fills, where the stage has so many: for up to 6 or 10 rows at once.
With few registers 3 vectors of 4 rows are 12 sums, where 4 vectors leave room for 8."""

MANY_REGISTERS = 32

FEW_STEPS = 128
"""Of K, below which more sums at a time do not make up for more passes."""

CHAINS, CHAINS_FEW = 1, 2
"""Vectors of columns that the elementwise part computes side by side, with many registers and with few: each is a chain of
dozens of instructions that wait for each other. Processors with few registers do not look far enough ahead to find the next
vector's by themselves."""

CHUNK_BYTES, CHUNK_BYTES_LARGE = 16 * 1024, 8 * 1024
"""Packed weights that are used for several blocks of rows while they are in the first cache, beside the next ones if large."""

NEAR_BYTES = 3 * 1024
"""How far ahead large weights are asked for where a chunk is used only once."""

BLOCKS = 4
"""Blocks of rows that a panel is used for before the elementwise part, so that its accumulators stay in the first cache."""


class Pass(NamedTuple):
    """Linears that read the same rows, done in one go over K.

    Attributes:
        input: rows (K,).
        linears: nodes, each with the same number of columns.
        first: where their accumulators start in the tile.
    """

    input: Node
    linears: tuple[Node, ...]
    first: int


class Tiling(NamedTuple):
    """How a stage's products are cut: panels of ``vectors`` times the lanes, blocks of at most ``rows`` rows.

    A packed panel of a pass holds, for each k, ``vectors`` vectors of each of its linears. Accumulators lie in a tile, of each
    pass [row][linear][vector], between products and elementwise part, and from one chunk of K to the next. Weights that are
    ``large`` are asked for before they are used.
    """

    passes: tuple[Pass, ...]
    vectors: int
    rows: int
    panels: int
    large: bool

    @property
    def linears(self) -> int:
        return sum(len(p.linears) for p in self.passes)

    @property
    def tile_rows(self) -> int:
        return self.rows * BLOCKS

    def product(self, done: Pass, element: Element) -> Products:
        """What computes a pass."""
        return Products(element, len(done.linears) * self.vectors, self.large)

    def place(self, done: Pass, row: ir.Value, b: ir.IRBuilder) -> ir.Value:
        """Where a row's accumulators start in the tile, in vectors."""
        from .memory import I64

        start = I64(done.first * self.vectors * self.tile_rows)
        return b.add(start, b.mul(row, I64(len(done.linears) * self.vectors)))

    def chunk(self, done: Pass, types: Lanes) -> int:
        """Steps of K that are done for all blocks of rows before the next."""
        per_k = len(done.linears) * self.vectors * types.lanes * BYTES[types.element]
        chunk = max(16, (CHUNK_BYTES_LARGE if self.large else CHUNK_BYTES) // per_k // 2 * 2)
        return done.input.width if done.input.width <= chunk * 3 // 2 else chunk


def tiling(stage: Stage, types: Lanes, host: Host, *, waits: bool = True) -> Tiling:
    """Choose: as many accumulators as registers hold beside a row of weights and a number of the input.

    Where no step ``waits`` for another there are as many rows as it takes for the weights to be in time.
    """
    columns = -(-stage.width // types.lanes)
    numbers = sum(source.width * len(linears) for source, linears in stage.groups.items()) * stage.width
    size = BYTES[types.element]
    # many rows that lie a multiple of 4096 bytes apart would drive each other out of the first cache
    large = waits and numbers * size > LARGE_BYTES and all(source.width * size % 4096 for source in stage.groups)
    is_short = any(source.width < FEW_STEPS for source in stage.groups)
    widely = MOST_VECTORS if host.registers >= MANY_REGISTERS or is_short else MOST_VECTORS_FEW
    most = MOST_VECTORS_LARGE if large else widely
    side_by_side = min(columns, chains(host))
    passes, first = [], 0
    for source, linears in stage.groups.items():
        each = most // side_by_side
        parts = -(-len(linears) // (each if side_by_side == 1 or len(linears) % each == 0 else 1))
        for n in range(parts):
            part = tuple(linears[len(linears) * n // parts : len(linears) * (n + 1) // parts])
            passes.append(Pass(source, part, first))
            first += len(part)
    widest = max(len(p.linears) for p in passes)
    vectors = min(columns, max(1, most // widest))
    if vectors == widely:  # or one less, where that leaves less of the last panel empty
        vectors = min((vectors, vectors - 1), key=lambda n: -(-columns // n) * n)
    vectors -= vectors % side_by_side
    return Tiling(tuple(passes), vectors, most_rows(widest * vectors, host), -(-columns // vectors), large)


def chains(host: Host) -> int:
    """Vectors that the elementwise part computes side by side where a stage has so many."""
    return CHAINS if host.registers >= MANY_REGISTERS else CHAINS_FEW


def together(stage: Stage, tile: Tiling | None, chains: int, lanes: int) -> int:
    """Of them, those of a stage."""
    return chains if stage.width > lanes and (tile is None or tile.vectors % chains == 0) else 1


def following(b: ir.IRBuilder, per_k: int, steps: ir.Value, is_top: ir.Value, is_bottom: ir.Value) -> list[ir.Value]:
    """How far ahead a product asks for weights, in bytes: of each two steps of K, for those of the first and of the second.

    Blocks of rows share the next chunk, so that memory has all their time to bring it: the top one asks for one half, the
    second for the other, as those below do again, to no harm. A block that is alone asks for all, a little ahead of itself.

    Args:
        per_k: bytes of one step of K.
        steps: of this chunk; the next one follows it.
        is_top, is_bottom: whether a block is the tile's first and last.
    """
    from .memory import I64

    is_only = b.and_(is_top, is_bottom)
    even = b.select(is_only, I64(NEAR_BYTES), b.mul(steps, I64(per_k)))
    odd = b.add(even, I64(per_k))
    return [b.select(is_top, even, odd), b.select(b.and_(is_top, b.not_(is_only)), even, odd)]
