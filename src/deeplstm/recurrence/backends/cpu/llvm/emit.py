"""From a loop's stages to LLVM IR.

What is emitted reads as it runs::

    for each thread's rows: for each step: for each stage:
        for each panel of columns: for each block of rows:      (stages with products)
            the products, in registers -> tile                  (functions that all cells share)
            for each row, for each vector of columns: load, compute, store
        for each row:                                           (stages without)
            for each vector of columns: load, compute, store, reduce
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir

from ....program import free
from ....program.graph import Node
from ....program.stages import RESETS, Buffer, Loop, Place, Stage
from . import math
from .control import call_at, either, least, loop
from .layout import IS_SINGLE, KERNEL, PACKED, PER_BUFFER, Layout
from .memory import (
    BYTES,
    I1,
    I8,
    I32,
    I64,
    PTR,
    STORED,
    Element,
    Vectors,
    compute_element,
    lanes_below,
    prefetch,
    splat,
)
from .prepare import emit_prepare
from .tiles import following, together


def emit(program: Loop, layout: Layout) -> ir.Module:
    """The module whose function `KERNEL` (begin, end, context) runs the loop for the rows of threads begin to end."""
    module = ir.Module(name="deeplstm")
    stages = [_StageEmitter(module, n, stage, program, layout).emit() for n, stage in enumerate(program.stages)]
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
    for buffer in (RESETS, *program.carried, *program.following, *(x for pair in program.resets for x in pair)):
        rows.base(buffer)
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
    """Addresses of rows of buffers at one step."""

    def __init__(self, b: ir.IRBuilder, layout: Layout, context: ir.Value, t: ir.Value) -> None:
        self.b, self.layout, self.context, self.t = b, layout, context, t
        self.bases: dict[Buffer, ir.Value] = {}

    def entry(self, n: int) -> ir.Value:
        return self.b.load(self.b.gep(self.context, [I64(n)], source_etype=I64), typ=I64)

    def element(self, buffer: Buffer) -> Element:
        return "bool" if buffer.is_bool else self.layout.element

    def base(self, buffer: Buffer) -> ir.Value:
        """Where a buffer's rows of this step start. To be asked for first where it dominates every use."""
        if buffer not in self.bases:
            b, at = self.b, self.layout.buffer_at(buffer)
            base, table = (b.inttoptr(self.entry(at + n), PTR) for n in range(PER_BUFFER))
            first = b.load(b.gep(table, [self.t], source_etype=I64), typ=I64)
            start = b.mul(first, I64(buffer.width))
            stored = STORED[self.element(buffer)]
            self.bases[buffer] = b.gep(base, [start], source_etype=stored, name=buffer.name.replace(" ", "."))
        return self.bases[buffer]

    def at(self, place: Place, row: ir.Value, column: ir.Value) -> ir.Value:
        b, buffer = self.b, place.buffer
        index = b.add(b.mul(row, I64(buffer.width)), b.add(column, I64(place.column)))
        return b.gep(self.base(buffer), [index], source_etype=STORED[self.element(buffer)])


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


class _StageEmitter:
    """Emits ``stage(context, t, low, high)``: rows low to high of one step."""

    def __init__(self, module: ir.Module, number: int, stage: Stage, program: Loop, layout: Layout) -> None:
        self.module, self.number, self.stage, self.program, self.layout = module, number, stage, program, layout
        self.types = Vectors(layout.element, layout.lanes)
        self.packed = next((p for p in layout.packed if p.stage is stage), None)
        self.tile = None if self.packed is None else self.packed.tile
        self.wide = Vectors(layout.element, layout.lanes * together(stage, self.tile, layout.chains, layout.lanes))
        self.is_masked = stage.width % self.wide.lanes != 0

    def emit(self) -> ir.Function:
        name = f"stage{self.number}"
        finish = None if self.tile is None else self._finish(f"{name}.finish")
        context, t, low, high = self._begin(name, [PTR, I64, I64, I64])
        if finish is not None:
            self._tiles(context, t, low, high, finish)
        else:
            self._addresses()
            self._by_row(low, high)
        self.b.ret_void()
        return self.b.function

    def _begin(self, name: str, arguments: list[ir.Type]) -> tuple[ir.Value, ...]:
        """A function, to be written from here on; its first arguments are the context and the step."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.rows = Rows(self.b, self.layout, *function.args[:2])
        self.free: dict[Node, ir.Value] = {}
        return tuple(function.args)

    def _finish(self, name: str) -> ir.Function:
        """``name(context, t, top, bottom, panel, tile)``: the elementwise part for rows top to bottom of a panel.

        A function of its own: its constants fill the registers, and would all be loaded again after every product.
        """
        _, _, top, bottom, panel, scratch = self._begin(name, [PTR, I64, I64, I64, I64, PTR])
        b, tile, lanes = self.b, self.tile, self.wide.lanes
        assert tile is not None
        self._addresses()
        most = tile.vectors * self.types.lanes // lanes
        first = b.mul(panel, I64(most * lanes))
        left = b.sub(I64(-(-self.stage.width // lanes)), b.mul(panel, I64(most)))
        with loop(b, top, bottom, "row") as row, loop(b, 0, least(b, left, I64(most)), "vector") as v:
            column = b.add(first, b.mul(v, I64(lanes)))
            self._vector(row, column, self._from_tile(scratch, b.sub(row, top), v), {})
        b.ret_void()
        return b.function

    def _addresses(self) -> None:
        """Where this step's rows of every buffer start."""
        b, stage = self.b, self.stage
        buffers = dict.fromkeys(p.buffer for _, p in (*stage.stores, *stage.totals, *stage.reductions))
        for node in self.program.work_of(stage)[1]:
            if node.kind == "free":
                source, offset, _ = free.view_of(node)
                base = b.inttoptr(self.rows.entry(self.layout.source_at(source)), PTR)
                self.free[node] = b.gep(base, [I64(offset)], source_etype=STORED[self._free_element(node)])
            else:
                buffers[self.program.places[node].buffer] = None
        for node in stage.groups:
            buffers[self.program.places[node].buffer] = None
        for buffer in buffers:
            self.rows.base(buffer)

    def _free_element(self, node: Node) -> Element:
        return "bool" if node.is_bool else self.layout.element

    # ---------------------------------------------------------------- shapes of stages

    def _tiles(self, context: ir.Value, t: ir.Value, low: ir.Value, high: ir.Value, finish: ir.Function) -> None:
        b, tile, types = self.b, self.tile, self.types
        assert tile is not None
        size = tile.linears * tile.tile_rows * tile.vectors
        self.scratch = scratch = b.alloca(types.type, size, name="tile")
        scratch.align = types.lanes * BYTES[compute_element(types)]
        places = self._outside()
        for place in places:
            self.rows.base(place.buffer)
        for done in tile.passes:
            self.rows.base(self.program.places[done.input].buffer)
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
        assert self.tile is not None
        linears = {n for p in self.tile.passes for n in p.linears}
        read = [n for n in self.program.work_of(self.stage)[1] if n.kind != "free" and n.width > 1 and n not in linears]
        written = [place for _, place in (*self.stage.stores, *self.stage.totals)]
        return list(dict.fromkeys([*(self.program.places[n] for n in read), *written]))

    def _ask(self, places: list[Place], panel: ir.Value, low: ir.Value, high: ir.Value) -> None:
        """Ask for what the elementwise part will read and write of a block, so that it is there after the products. A panel's
        columns of rows that lie far apart are nothing that the processor foresees.
        """
        b, tile, lanes = self.b, self.tile, self.wide.lanes
        assert tile is not None
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
        assert tile is not None
        assert packed is not None
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

    def _from_tile(self, scratch: ir.Value, r: ir.Value, v: ir.Value) -> Callable[[Node], ir.Value | None]:
        b, tile, types, wide = self.b, self.tile, self.types, self.wide
        assert tile is not None
        index = {n: (done, i) for done in tile.passes for i, n in enumerate(done.linears)}

        def accumulator(node: Node) -> ir.Value | None:
            if node not in index:
                return None
            done, i = index[node]
            at = b.add(I64(i * tile.vectors), b.mul(v, I64(wide.lanes // types.lanes)))
            at = b.add(tile.place(done, r, b), at)
            return wide.load(b, b.gep(scratch, [at], source_etype=types.type), compute_element(types))

        return accumulator

    def _by_row(self, low: ir.Value, high: ir.Value) -> None:
        b, types, stage = self.b, self.wide, self.stage
        sums = {}
        for node, _ in stage.reductions:
            if node not in sums:
                sums[node] = b.alloca(types.type, name=node.name)
        with loop(b, low, high, "row") as row:
            for node, at in sums.items():
                types.store(b, math.splat(types.type, NEUTRAL[node.op]), at, compute_element(types))
            if stage.width > 1 or stage.stores or stage.totals:
                with loop(b, 0, -(-stage.width // types.lanes), "vector") as v:
                    self._vector(row, b.mul(v, I64(types.lanes)), lambda node: None, sums)
            for node, place in stage.reductions:
                total = across(b, types.load(b, sums[node], compute_element(types)), node.op)
                types.store_first(b, total, self.rows.at(place, row, I64(0)), self.rows.element(place.buffer))

    # ---------------------------------------------------------------- one vector of one row

    def _vector(
        self,
        row: ir.Value,
        column: ir.Value,
        accumulator: Callable[[Node], ir.Value | None],
        sums: dict[Node, ir.Value],
    ) -> None:
        """Compute and store everything the stage has for a vector of columns of a row; the last one may be part of one."""
        b, lanes, width = self.b, self.wide.lanes, I64(self.stage.width)

        def part(is_whole: bool) -> None:
            mask = None if is_whole else lanes_below(b, b.sub(width, column), lanes)
            self._columns(row, column, mask, accumulator, sums)

        if self.layout.has_masks or not self.is_masked:
            part(not self.is_masked)
        elif self.stage.width < lanes:
            part(False)
        else:
            either(b, b.icmp_signed("<=", b.add(column, I64(lanes)), width), part)

    def _columns(
        self,
        row: ir.Value,
        column: ir.Value,
        mask: ir.Value | None,
        accumulator: Callable[[Node], ir.Value | None],
        sums: dict[Node, ir.Value],
    ) -> None:
        """The same for those that a mask leaves."""
        b, types, stage = self.b, self.wide, self.stage
        done: dict[Node, ir.Value] = {}

        def value(node: Node | float) -> ir.Value:
            if not isinstance(node, Node):
                return math.splat(types.type, float(node))
            if node not in done:
                done[node] = compute(node)
            return done[node]

        def compute(node: Node) -> ir.Value:
            if node.kind == "free":
                element = self._free_element(node)
                if node.shape in ((), (1,)):
                    return types.load_scalar(b, self.free[node], element)
                at = b.gep(self.free[node], [column], source_etype=STORED[element])
                return types.load(b, at, element, mask)
            found = accumulator(node)
            if found is not None:
                return found
            if not self.program.is_computed_in(node, stage):
                place = self.program.places[node]
                element = self.rows.element(place.buffer)
                if node.width == 1:
                    return types.load_scalar(b, self.rows.at(place, row, I64(0)), element)
                return types.load(b, self.rows.at(place, row, column), element, mask)
            if node.op == "fill":
                return value(node.args[0])
            return emit_operator(b, types, node.op, [value(a) for a in node.args])

        values = [
            value(node) for node, _ in stage.stores
        ]  # all first: a store may overwrite what one of them is made of
        added = [value(node) for node, _ in stage.totals]
        summed = [value(node.args[0]) for node in sums]
        for computed, (_, place) in zip(values, stage.stores, strict=True):
            self._put(computed, place, row, column, mask)
        for computed, (_, place) in zip(added, stage.totals, strict=True):
            at, element = self.rows.at(place, row, column), self.rows.element(place.buffer)
            self._put(b.fadd(types.load(b, at, element, mask), computed), place, row, column, mask)
        for part, (node, at) in zip(summed, sums.items(), strict=True):
            if mask is not None:
                part = b.select(mask, part, math.splat(types.type, NEUTRAL[node.op]))
            total = COMBINE[node.op](b, types.load(b, at, compute_element(types)), part)
            types.store(b, total, at, compute_element(types))

    def _put(self, value: ir.Value, place: Place, row: ir.Value, column: ir.Value, mask: ir.Value | None) -> None:
        """Store what a stage computed. One number is stored as such: LLVM writes two of 16 bits for a mask of one lane."""
        at, element = self.rows.at(place, row, column), self.rows.element(place.buffer)
        if self.stage.width == 1:
            self.wide.store_first(self.b, value, at, element)
        else:
            self.wide.store(self.b, value, at, element, mask)


def across(b: ir.IRBuilder, vector: ir.Value, op: str) -> ir.Value:
    """One number out of all lanes, in each of them, halving them: the same order on every run."""
    lanes = vector.type.count
    half = lanes // 2
    while half:
        order = ir.Constant(ir.VectorType(I32, lanes), [(n + half) % lanes for n in range(lanes)])
        vector = COMBINE[op](b, vector, b.shuffle_vector(vector, vector, order))
        half //= 2
    return vector


def emit_operator(b: ir.IRBuilder, types: Vectors, name: str, args: list[ir.Value]) -> ir.Value:
    """One elementwise operator of `operators.TABLE`."""
    if name in _PLAIN:
        return getattr(b, _PLAIN[name])(*args)
    if name in _COMPARE:
        return (b.fcmp_unordered if name == "ne" else b.fcmp_ordered)(_COMPARE[name], *args)
    if name == "where":
        return b.select(*args)
    if name == "real":
        return b.uitofp(args[0], types.type)
    if name == "not":
        return b.not_(args[0])
    return math.FUNCTIONS[name](b, *args)


_PLAIN = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "and": "and_", "or": "or_"}
_COMPARE = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
NEUTRAL = {"sum": 0.0, "amax": float("-inf"), "amin": float("inf")}
COMBINE: dict[str, Callable[..., ir.Value]] = {
    "sum": lambda b, x, y: b.fadd(x, y),
    "amax": lambda b, x, y: math.FUNCTIONS["maximum"](b, x, y),
    "amin": lambda b, x, y: math.FUNCTIONS["minimum"](b, x, y),
}
