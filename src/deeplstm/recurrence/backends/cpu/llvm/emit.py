"""From a loop's stages to LLVM IR.

What is emitted reads as it runs::

    for each thread's rows: for each step: for each stage:
        for each panel of columns: for each block of rows:      (stages with products)
            the products, in registers -> tile                  (functions that all cells share)
            for each row, for each vector of columns: load, compute, store
        for each row: for each stage until the next product:    (stages without)
            for each vector of columns: load, compute, store, reduce
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from llvmlite import ir

from ....program import free
from ....program.graph import Node
from ....program.stages import RESETS, Buffer, Loop, Place, Stage
from .columns import Accumulator, Columns
from .control import call_at, least, loop
from .layout import IS_SINGLE, KERNEL, PACKED, PER_BUFFER, Layout, Packed
from .memory import (
    BYTES,
    I1,
    I8,
    I64,
    PTR,
    STORED,
    Element,
    Vectors,
    compute_element,
    prefetch,
    splat,
)
from .prepare import emit_prepare
from .tiles import Tiling, following, together


def emit(program: Loop, layout: Layout) -> ir.Module:
    """The module whose function `KERNEL` (begin, end, context) runs the loop for the rows of threads begin to end."""
    module = ir.Module(name="deeplstm")
    stages = list(_stages(module, program, layout))
    if program.has_resets:
        resets = _emit_resets(module, program, layout)
        stages = [*stages, resets] if program.is_backward else [resets, *stages]
    void = ir.VoidType()
    function = ir.Function(module, ir.FunctionType(void, [I64, I64, PTR]), KERNEL)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    begin, end, context = function.args
    entry = lambda n: b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64)  # noqa: E731
    T, first, direction = entry(0), entry(1), entry(2)
    active, bounds = (b.inttoptr(entry(n), PTR) for n in (3, 4))
    with loop(b, begin, end, "thread") as thread:
        low = b.load(b.gep(bounds, [thread], source_etype=I64), typ=I64)
        high = b.load(b.gep(bounds, [b.add(thread, I64(1))], source_etype=I64), typ=I64)
        with loop(b, 0, T, "step") as step:
            t = b.add(first, b.mul(step, direction))
            alive = b.load(b.gep(active, [t], source_etype=I64), typ=I64)
            rows = b.select(b.icmp_signed("<", alive, high), alive, high)
            with b.if_then(b.icmp_signed("<", low, rows)):
                for stage in stages:
                    b.call(stage, [context, t, low, rows])
    b.ret_void()
    emit_prepare(module, layout)
    return module


def _stages(module: ir.Module, program: Loop, layout: Layout) -> Iterator[ir.Function]:
    """A function for each stage with products, and for all stages between two of them together."""
    packed = {p.stage: p for p in layout.packed}
    for n, (has_products, group) in enumerate(groupby(program.stages, key=lambda stage: stage in packed)):
        if has_products:
            for m, stage in enumerate(group):
                yield _Tiles(module, program, layout, packed[stage]).emit(f"products{n}.{m}")
        else:
            yield _ByRow(module, program, layout).emit(f"rows{n}", list(group))


def _emit_resets(module: ir.Module, program: Loop, layout: Layout) -> ir.Function:
    """``resets(context, t, low, high)``: before a forward step the state is the past one, or the initial one where a row is
    reset; after a backward step its gradient goes to the past one, or to the initial one.
    """
    signature = ir.FunctionType(ir.VoidType(), [PTR, I64, I64, I64])
    function = ir.Function(module, signature, "resets")
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    context, t, low, high = function.args
    types, element = Vectors(layout.element, 1), layout.element
    rows = Rows(b, layout, context, t)
    exchanged = (x for pair in program.resets for x in pair)
    rows.find(Place(buffer) for buffer in (RESETS, *program.carried, *program.following, *exchanged))
    with loop(b, low, high, "row") as row:
        is_reset = b.trunc(b.load(rows.at(Place(RESETS), row, I64(0)), typ=I8), I1)
        for n, (past, initial) in enumerate(program.resets):
            with loop(b, 0, past.width, "column") as column:

                def at(buffer: Buffer, row: ir.Value = row, column: ir.Value = column) -> ir.Value:
                    return rows.at(Place(buffer), row, column)

                if program.is_backward:
                    gradient = at(program.following[n])
                    value = types.load(b, gradient, element)
                    zero = ir.Constant(value.type, None)
                    total = types.load(b, at(initial), element)
                    mask = splat(b, is_reset, 1)
                    types.store(b, b.fadd(total, b.select(mask, value, zero)), at(initial), element)
                    types.store(b, b.select(mask, zero, value), gradient, element)
                else:
                    source = b.select(is_reset, at(initial), at(past))
                    types.store(b, types.load(b, source, element), at(program.carried[n]), element)
    b.ret_void()
    return function


class Rows:
    """Addresses of rows of buffers at one step, and of what has no rows."""

    def __init__(self, b: ir.IRBuilder, layout: Layout, context: ir.Value, t: ir.Value) -> None:
        self.b, self.layout, self.context, self.t = b, layout, context, t
        self._bases: dict[Buffer, ir.Value] = {}
        self._free: dict[Node, ir.Value] = {}
        self._shared: dict[Buffer, ir.Value] = {}

    def share(self, buffers: Iterable[Buffer], row: ir.Value) -> None:
        """Have all rows of buffers be this one."""
        self._shared |= dict.fromkeys(buffers, row)

    def entry(self, n: int) -> ir.Value:
        return self.b.load(self.b.gep(self.context, [I64(n)], source_etype=I64), typ=I64)

    def find(self, places: Iterable[Place], nodes: Iterable[Node] = ()) -> None:
        """Compute where rows of places start at this step, and where free nodes do: before any of them is used."""
        b = self.b
        for buffer in dict.fromkeys(place.buffer for place in places):
            if buffer in self._bases:
                continue
            at = self.layout.buffer_at(buffer)
            base, table = (b.inttoptr(self.entry(at + n), PTR) for n in range(PER_BUFFER))
            first = b.load(b.gep(table, [self.t], source_etype=I64), typ=I64)
            start, stored = b.mul(first, I64(buffer.width)), STORED[self.element(Place(buffer))]
            self._bases[buffer] = b.gep(base, [start], source_etype=stored, name=buffer.name.replace(" ", "."))
        for node in nodes:
            if node not in self._free:
                source, offset, _ = free.view_of(node)
                base = b.inttoptr(self.entry(self.layout.source_at(source)), PTR)
                self._free[node] = b.gep(base, [I64(offset)], source_etype=STORED[self.element(node)])

    def element(self, of: Node | Place) -> Element:
        is_bool = of.is_bool if isinstance(of, Node) else of.buffer.is_bool
        return "bool" if is_bool else self.layout.element

    def free(self, node: Node) -> ir.Value:
        return self._free[node]

    def at(self, place: Place, row: ir.Value, column: ir.Value) -> ir.Value:
        b, buffer = self.b, place.buffer
        row = self._shared.get(buffer, row)
        index = b.add(b.mul(row, I64(buffer.width)), b.add(column, I64(place.column)))
        return b.gep(self._bases[buffer], [index], source_etype=STORED[self.element(place)])


@contextmanager
def _spread(
    b: ir.IRBuilder, low: ir.Value, high: ir.Value, most: int, name: str
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Rows low to high in parts of at most ``most``, as equal as can be: (first, end) of each."""
    count = b.sub(high, low)
    parts = b.sdiv(b.add(count, I64(most - 1)), I64(most))
    size, longer = b.sdiv(count, parts), b.srem(count, parts)
    with loop(b, 0, parts, name) as n:
        is_longer = b.icmp_signed("<", n, longer)
        first = b.add(low, b.add(b.mul(n, size), b.select(is_longer, n, longer)))
        yield first, b.add(first, b.add(size, b.zext(is_longer, I64)))


class _Emitter:
    """What emits functions that work on rows of one step; the first arguments of each are the context and the step."""

    def __init__(self, module: ir.Module, program: Loop, layout: Layout) -> None:
        self.module, self.program, self.layout = module, program, layout
        self.types = Vectors(layout.element, layout.lanes)

    def begin(self, name: str, *arguments: ir.Type) -> tuple[ir.Value, ...]:
        """A function, to be written from here on."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [PTR, I64, *arguments]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.rows = Rows(self.b, self.layout, *function.args[:2])
        return tuple(function.args)

    def columns(self, stage: Stage, tile: Tiling | None) -> Columns:
        """What computes a stage's elementwise part."""
        side_by_side = together(stage, tile, self.layout.chains, self.layout.lanes)
        types = Vectors(self.layout.element, self.layout.lanes * side_by_side)
        return Columns(self.b, self.program, stage, types, self.rows, is_split=not self.layout.has_masks)


class _ByRow(_Emitter):
    """Emits ``name(context, t, low, high)``: stages without products, all of them for a row before the next one, so that what
    one stage leaves for another is in the first cache still.
    """

    def emit(self, name: str, stages: Sequence[Stage]) -> ir.Function:
        _, _, low, high = self.begin(name, I64, I64)
        self.rows.share(self._between(stages), low)
        parts = [self.columns(stage, None) for stage in stages]
        with loop(self.b, low, high, "row") as row:
            for part in parts:
                part.row(row)
        self.b.ret_void()
        return self.b.function

    def _between(self, stages: Sequence[Stage]) -> set[Buffer]:
        """Buffers that nothing else touches: the rows of a thread can take turns to use its first one. Not sums over steps,
        whose order would depend on the threads.
        """
        others = {p.buffer for s in self.program.stages if s not in stages for p in self.program.touched(s)}
        own = {place.buffer for s in stages for place in self.program.touched(s)}
        return {b for b in own if not b.steps} - others - set(self.program.totals.values())


class _Tiles(_Emitter):
    """Emits ``name(context, t, low, high)``: a stage with products, panel by panel."""

    def __init__(self, module: ir.Module, program: Loop, layout: Layout, packed: Packed) -> None:
        super().__init__(module, program, layout)
        self.packed, self.stage, self.tile = packed, packed.stage, packed.tile

    def emit(self, name: str) -> ir.Function:
        finish = self._finish(f"{name}.finish")
        context, t, low, high = self.begin(name, I64, I64)
        self._tiles(context, t, low, high, finish)
        self.b.ret_void()
        return self.b.function

    def _finish(self, name: str) -> ir.Function:
        """``name(context, t, top, bottom, panel, tile)``: the elementwise part for rows top to bottom of a panel.

        A function of its own: its constants fill the registers, and would all be loaded again after every product.
        """
        _, _, top, bottom, panel, scratch = self.begin(name, I64, I64, I64, PTR)
        b, tile, columns = self.b, self.tile, self.columns(self.stage, self.tile)
        self.finished, lanes = columns, columns.types.lanes
        most = tile.vectors * self.types.lanes // lanes
        first = b.mul(panel, I64(most * lanes))
        left = b.sub(I64(-(-self.stage.width // lanes)), b.mul(panel, I64(most)))
        with loop(b, top, bottom, "row") as row:
            numbers = columns.numbers(row)
            with loop(b, 0, least(b, left, I64(most)), "vector") as v:
                column = b.add(first, b.mul(v, I64(lanes)))
                columns.vector(row, column, self._from_tile(columns, scratch, b.sub(row, top), v), numbers)
        b.ret_void()
        return b.function

    def _tiles(self, context: ir.Value, t: ir.Value, low: ir.Value, high: ir.Value, finish: ir.Function) -> None:
        b, tile, types = self.b, self.tile, self.types
        size = tile.linears * tile.tile_rows * tile.vectors
        self.scratch = scratch = b.alloca(types.type, size, name="tile")
        scratch.align = types.lanes * BYTES[compute_element(types)]
        places = self._outside()
        self.rows.find([*places, *(self.program.places[done.input] for done in tile.passes)])
        shapes = dict.fromkeys(tile.product(done, self.layout.element) for done in tile.passes)
        self.tables = {shape: b.inttoptr(self.rows.entry(self.layout.library_at(shape)), PTR) for shape in shapes}
        with loop(b, 0, tile.panels, "panel") as panel, _spread(b, low, high, tile.tile_rows, "tile") as (top, bottom):
            for p, done in enumerate(tile.passes):
                chunk = tile.chunk(done, types)
                with loop(b, 0, -(-done.input.width // chunk), "chunk") as c:
                    k = b.mul(c, I64(chunk))
                    steps = least(b, b.sub(I64(done.input.width), k), I64(chunk))
                    with _spread(b, top, bottom, tile.rows, "block") as (row, end):
                        if p == 0:
                            with b.if_then(b.icmp_signed("==", c, I64(0))):
                                self._ask(places, panel, row, end)
                        self._products(p, panel, k, steps, (top, bottom), (row, end))
            b.call(finish, [context, t, top, bottom, panel, scratch])

    def _outside(self) -> list[Place]:
        """Where the elementwise part reads and writes rows."""
        read = [n for n in self.finished.read if n.kind != "free" and n.width > 1]
        written = [place for _, place in (*self.stage.stores, *self.stage.totals)]
        return list(dict.fromkeys([*(self.program.places[n] for n in read), *written]))

    def _ask(self, places: list[Place], panel: ir.Value, low: ir.Value, high: ir.Value) -> None:
        """Ask for what the elementwise part will read and write of a block, so that it is there after the products. A panel's
        columns of rows that lie far apart are nothing that the processor foresees.
        """
        b, tile, lanes = self.b, self.tile, self.finished.types.lanes
        columns = tile.vectors * self.types.lanes
        first = b.mul(panel, I64(columns))
        with loop(b, low, high, "row") as row, loop(b, 0, columns // lanes, "vector") as v:
            column = b.add(first, b.mul(v, I64(lanes)))
            for place in places:
                prefetch(b, self.rows.at(place, row, column))

    def _products(
        self,
        p: int,
        panel: ir.Value,
        k: ir.Value,
        steps: ir.Value,
        tile_rows: tuple[ir.Value, ir.Value],
        block: tuple[ir.Value, ir.Value],
    ) -> None:
        """One pass's products for a block of rows of a tile, first to end, and a chunk of K."""
        b, tile, types, packed = self.b, self.tile, self.types, self.packed
        done, (top, bottom), (row, end) = tile.passes[p], tile_rows, block
        size = BYTES[self.layout.element]
        per_k = len(done.linears) * tile.vectors * types.lanes
        at = b.add(b.mul(panel, I64(packed.panel)), I64(packed.start + packed.passes[p]))
        at = b.add(at, b.mul(k, I64(per_k)))
        weights = b.gep(
            b.inttoptr(self.rows.entry(PACKED), PTR), [at], source_etype=STORED[self.layout.element], name="weights"
        )
        source = self.program.places[done.input]
        start, row_bytes = self.rows.at(source, row, k), I64(source.buffer.width * size)
        accumulators = b.gep(self.scratch, [tile.place(done, b.sub(row, top), b)], source_etype=types.type)
        is_first = b.icmp_signed("==", k, I64(0))
        is_top, is_bottom = b.icmp_signed("==", row, top), b.icmp_signed("==", end, bottom)
        ahead = following(b, per_k * size, steps, is_top, is_bottom) if tile.large else []
        shape = tile.product(done, self.layout.element)
        product = b.load(b.gep(self.tables[shape], [self._variant(b.sub(end, row))], source_etype=PTR), typ=PTR)
        call_at(b, product, shape.signature, [start, row_bytes, weights, accumulators, steps, is_first, *ahead])

    def _variant(self, rows: ir.Value) -> ir.Value:
        """Which of a shape's products is for so many rows; the first one is for a batch of a single row."""
        b = self.b
        is_single = b.icmp_signed("!=", self.rows.entry(IS_SINGLE), I64(0))
        return b.select(is_single, I64(0), rows)

    def _from_tile(self, columns: Columns, scratch: ir.Value, r: ir.Value, v: ir.Value) -> Accumulator:
        b, tile, types, wide = self.b, self.tile, self.types, columns.types
        index = {n: (done, i) for done in tile.passes for i, n in enumerate(done.linears)}

        def accumulator(node: Node) -> ir.Value | None:
            if node not in index:
                return None
            done, i = index[node]
            at = b.add(I64(i * tile.vectors), b.mul(v, I64(wide.lanes // types.lanes)))
            at = b.add(tile.place(done, r, b), at)
            return wide.load(b, b.gep(scratch, [at], source_etype=types.type), compute_element(types))

        return accumulator
