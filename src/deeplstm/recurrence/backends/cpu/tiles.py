"""Products in registers: a block of rows times a packed panel of weights."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from ...program.graph import Node
from ...program.stages import Stage
from . import math
from .control import accumulate
from .host import Host
from .memory import BYTES, I1, I64, PTR, STORED, Element, Vectors, prefetch

LARGE_BYTES = 1024 * 1024
"""Packed weights of a stage above which they are taken to come from beyond the second cache at every step. Then a panel is
narrow, for as many rows as can be while it comes, and the next one is asked for meanwhile."""

MOST_VECTORS, MOST_VECTORS_LARGE = 4, 2
"""Vectors of columns that one pass over a row's numbers fills, where the stage has so many: for up to 6 or 10 rows at once."""

MOST_ROWS = 10
"""Rows at once, where registers hold more: each number of rows is a function to compile, and the first cache keeps 8 lines that
lie a multiple of 4096 bytes apart."""

CHUNK_BYTES, CHUNK_BYTES_LARGE = 16 * 1024, 8 * 1024
"""Packed weights that are used for several blocks of rows while they are in the first cache, beside the next ones if large."""

NEAR_BYTES = 3 * 1024
"""How far ahead large weights are asked for where a chunk is used only once."""

LINE_BYTES = 64
"""What memory brings at once."""

BLOCKS = 4
"""Blocks of rows that a panel is used for before the elementwise part, so that its accumulators stay in the first cache."""


@dataclass(frozen=True)
class Pass:
    """Linears that read the same rows, done in one go over K.

    Attributes:
        input: rows (K,).
        linears: nodes, each with the same number of columns.
        first: where their accumulators start in the tile.
    """

    input: Node
    linears: tuple[Node, ...]
    first: int


@dataclass(frozen=True)
class Tiling:
    """How a stage's products are cut: panels of ``vectors`` times the lanes, blocks of at most ``rows`` rows.

    A packed panel of a pass holds, for each k, ``vectors`` vectors of each of its linears. Accumulators lie in a tile,
    [linear][row][vector], between products and elementwise part, and from one chunk of K to the next. A batch of one row
    has ``ways`` sets of accumulators. Weights that are ``large`` are asked for before they are used.
    """

    passes: tuple[Pass, ...]
    vectors: int
    rows: int
    panels: int
    ways: int
    large: bool

    @property
    def linears(self) -> int:
        return sum(len(p.linears) for p in self.passes)

    @property
    def tile_rows(self) -> int:
        return self.rows * BLOCKS

    def chunk(self, done: Pass, types: Vectors) -> int:
        """Steps of K that are done for all blocks of rows before the next."""
        per_k = len(done.linears) * self.vectors * types.lanes * BYTES[types.element]
        chunk = max(16, (CHUNK_BYTES_LARGE if self.large else CHUNK_BYTES) // per_k // 2 * 2)
        return done.input.width if done.input.width <= chunk * 3 // 2 else chunk


def tiling(stage: Stage, types: Vectors, host: Host, *, waits: bool = True) -> Tiling:
    """Choose: as many accumulators as registers hold beside a row of weights and a number of the input.

    Where no step ``waits`` for another there are as many rows as it takes for the weights to be in time.
    """
    columns = -(-stage.width // types.lanes)
    numbers = sum(source.width * len(linears) for source, linears in stage.groups.items()) * stage.width
    size = BYTES[types.element]
    # many rows that lie a multiple of 4096 bytes apart would drive each other out of the first cache
    large = waits and numbers * size > LARGE_BYTES and all(source.width * size % 4096 for source in stage.groups)
    most = MOST_VECTORS_LARGE if large else MOST_VECTORS
    passes, first = [], 0
    for source, linears in stage.groups.items():
        parts = -(-len(linears) // most)
        for n in range(parts):
            part = tuple(linears[len(linears) * n // parts : len(linears) * (n + 1) // parts])
            passes.append(Pass(source, part, first))
            first += len(part)
    widest = max(len(p.linears) for p in passes)
    vectors = min(columns, max(1, most // widest))
    if vectors == MOST_VECTORS:  # or one less, where that leaves less of the last panel empty
        vectors = min((vectors, vectors - 1), key=lambda n: -(-columns // n) * n)
    rows = min(MOST_ROWS, (host.registers - 1) // (widest * vectors) - 1)
    ways = max(1, host.registers // 2 // (widest * vectors))
    return Tiling(tuple(passes), vectors, max(1, rows), -(-columns // vectors), ways, large)


def product(
    module: ir.Module, name: str, done: Pass, tile: Tiling, rows: int, row_bytes: int, types: Vectors, stored: Element
) -> ir.Function:
    """One for all passes of a tile that have as many linears and steps of K, and rows as far apart.

    ``name(input, panel, tile, steps, is_first, asked...)``: the products of so many steps of K, put into the tile if they
    are the first ones, else added to what is there. For what is ``asked`` of large weights see `following`.

    ``rows`` 0 is for the only row of a batch: its few accumulators would wait for each other, so that every other step of K has
    accumulators of its own. Other batches do not use it, lest a row's last bits depend on which rows a thread has.
    """
    count = len(done.linears) * tile.vectors
    ways, rows = (tile.ways, 1) if rows == 0 else (1, rows)
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, I64, I1, *[PTR] * (2 * tile.large)]), name
    )
    function.linkage = "internal"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    rows_at, panel, out, steps, is_first, *asked = function.args
    places = []
    for r in range(rows):
        for n in range(count):
            linear, vector = divmod(n, tile.vectors)
            index = (linear * tile.tile_rows + r) * tile.vectors + vector
            places.append(b.gep(out, [I64(index)], source_etype=types.type))

    def step(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        at = b.mul(k, I64(count * types.lanes))
        weights = [
            types.load(b, b.gep(panel, [b.add(at, I64(n * types.lanes))], source_etype=STORED[stored]), stored)
            for n in range(count)
        ]
        results = []
        for r in range(rows):
            row = b.gep(rows_at, [I64(r * row_bytes)], source_etype=ir.IntType(8))
            number = types.load_scalar(b, b.gep(row, [k], source_etype=STORED[stored]), stored)
            results += [math.fma(b, number, weights[n], sums[r * count + n]) for n in range(count)]
        return results

    sums = _started(b, is_first, places, types)
    unroll, each = max(2, ways), len(places)
    line = max(1, LINE_BYTES // (types.lanes * BYTES[stored]))
    sums += [ir.Constant(types.type, None)] * (each * (ways - 1))

    def several(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        first = b.mul(k, I64(unroll))
        for base in asked:
            at = b.mul(first, I64(count * types.lanes))
            for n in range(0, unroll * count, 2 * count):
                for i in range(0, count, line):
                    prefetch(b, b.gep(base, [b.add(at, I64((n + i) * types.lanes))], source_etype=STORED[stored]))
        for n in range(unroll):
            way = slice(n % ways * each, (n % ways + 1) * each)
            sums[way] = step(b.add(first, I64(n)), sums[way])
        return sums

    times = b.udiv(steps, I64(unroll))
    sums = accumulate(b, times, sums, several)
    if done.input.width % unroll or tile.chunk(done, types) % unroll:
        done_steps = b.mul(times, I64(unroll))
        rest = lambda k, sums: [*step(b.add(k, done_steps), sums[:each]), *sums[each:]]  # noqa: E731
        sums = accumulate(b, b.sub(steps, done_steps), sums, rest)
    for way in range(1, ways):
        sums[:each] = [b.fadd(x, y) for x, y in zip(sums[:each], sums[way * each : (way + 1) * each], strict=True)]
    for place, value in zip(places, sums[:each], strict=True):
        types.store(b, value, place, compute_element(types))
    b.ret_void()
    return function


def _started(b: ir.IRBuilder, is_first: ir.Value, places: list[ir.Value], types: Vectors) -> list[ir.Value]:
    """Accumulators: zero at first, else what lies in the tile."""
    entry, again, start = b.block, b.append_basic_block("again"), b.append_basic_block("start")
    b.cbranch(is_first, start, again)
    b.position_at_end(again)
    found = [types.load(b, place, compute_element(types)) for place in places]
    b.branch(start)
    b.position_at_end(start)
    sums = [b.phi(types.type) for _ in places]
    for phi, value in zip(sums, found, strict=True):
        phi.add_incoming(ir.Constant(types.type, None), entry)
        phi.add_incoming(value, again)
    return sums


def following(
    b: ir.IRBuilder,
    weights: ir.Value,
    per_k: int,
    steps: ir.Value,
    is_top: ir.Value,
    is_bottom: ir.Value,
    types: Vectors,
) -> list[ir.Value]:
    """The two places from which a product asks for weights: of each two steps of K one is asked for from each.

    Blocks of rows share the next chunk, so that memory has all their time to bring it: the top one asks for one half, the
    second for the other, as those below do again, to no harm. A block that is alone asks for all, a little ahead of itself.

    Args:
        weights: of this chunk; those of the next one follow it.
        per_k: elements of one step of K.
        is_top, is_bottom: whether a block is the tile's first and last.
    """
    stored = STORED[types.element]
    is_only = b.and_(is_top, is_bottom)
    near = I64(NEAR_BYTES // BYTES[types.element])
    even = b.gep(weights, [b.select(is_only, near, b.mul(steps, I64(per_k)))], source_etype=stored)
    odd = b.gep(even, [I64(per_k)], source_etype=stored)
    return [b.select(is_top, even, odd), b.select(b.and_(is_top, b.not_(is_only)), even, odd)]


def compute_element(types: Vectors) -> Element:
    """How accumulators lie in memory."""
    return "float64" if types.element == "float64" else "float32"
