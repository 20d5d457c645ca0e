"""Products that sum over rows, in LLVM IR: out[i, j] = sum over r of a[r, i] * b[r, j].

What is emitted reads as it runs::

    for each part of the results: for each chunk of b's panels: for each block of rows: for each group of a's columns:
        pack the group's columns of a, in panels; before the first group: the panels of b   (into the second cache)
        for each panel of a: for each panel of b:
            the sum over the block's rows, in registers; put it into the result, or add it

Every number of a result is the sum over a block's rows, one after another, then the sum of the blocks, one after another:
its bits depend on the rows alone, not on where in which part it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from .control import accumulate, either, least, loop
from .host import Host
from .layout import KERNEL
from .math import fma
from .memory import BYTES, I32, I64, PTR, STORED, Element, Vectors, lanes_below, splat
from .outer_shape import BLOCK_ROWS, GROUP, Shape, shape

FEW_ROWS = 8
"""Rows that all panels of a group are packed of before the next ones, so that each line of the cache is read once."""

UNROLL = 2
"""Steps that are written after each other."""

LINE_BYTES = 64
"""Of the cache."""

HEADER = 10
"""Entries of the context before its products: rows, columns of a, parts along a and along b, a, its row stride, number of
products, panels of all b, where to pack, elements that each part has there."""
PER_PRODUCT = 5
"""b, its row stride, columns, number of its first panel, result (columns of a, columns of b)."""


def emit(element: Element, host: Host) -> ir.Module:
    """The module whose function `KERNEL` (begin, end, context) computes the parts begin to end of the results."""
    module = ir.Module(name="deeplstm.outer")
    _Emitter(module, element, shape(element, host)).kernel()
    return module


class _Spread:
    """Low to high in parts of at most ``most``, as equal as can be. Divides once: that takes as long as packing many rows."""

    def __init__(self, b: ir.IRBuilder, low: ir.Value, high: ir.Value, most: int) -> None:
        self.b, self.low = b, low
        count = b.sub(high, low)
        self.parts = b.udiv(b.add(count, I64(most - 1)), I64(most))
        size = b.udiv(count, _most(b, self.parts, I64(1)))
        self.size, self.longer = size, b.sub(count, b.mul(size, self.parts))

    @contextmanager
    def each(self, name: str) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
        """(number, first, end) of each part."""
        b = self.b
        with loop(b, 0, self.parts, name) as n:
            first = b.add(self.low, b.add(b.mul(n, self.size), least(b, n, self.longer)))
            is_longer = b.icmp_signed("<", n, self.longer)
            yield n, first, b.add(first, b.add(self.size, b.zext(is_longer, I64)))


def _most(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _ask(b: ir.IRBuilder, address: ir.Value, *, writes: bool = False) -> None:
    """Have a line of memory come closer: into the first cache where it will be written, else into the second."""
    name, signature = "llvm.prefetch.p0", ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32])
    prefetch = b.module.globals.get(name) or ir.Function(b.module, signature, name)
    b.call(prefetch, [address, I32(int(writes)), I32(3 if writes else 2), I32(1)])


@dataclass(frozen=True)
class _Block:
    """What is summed at a time: rows top to bottom, panels first to last of b, columns start to stop of a."""

    top: ir.Value
    bottom: ir.Value
    first: ir.Value
    last: ir.Value
    start: ir.Value
    stop: ir.Value
    rows: ir.Value


@dataclass(frozen=True)
class _Panel:
    """A panel of columns of some b: b and its row stride, first column and columns from there on, number within the chunk,
    where it is packed, result and its width.
    """

    b: ir.Value
    stride: ir.Value
    column: ir.Value
    left: ir.Value
    index: ir.Value
    packed: ir.Value
    out: ir.Value
    width: ir.Value


class _Emitter:
    def __init__(self, module: ir.Module, element: Element, shape: Shape) -> None:
        self.module, self.element, self.shape = module, element, shape
        self.types = Vectors(element, shape.lanes)
        self.computed: Element = "float64" if element == "float64" else "float32"
        self.stored, self.number = STORED[element], self.types.scalar
        counts = range(1, shape.rows + 1)
        self.sums = {self._key(rows, n): self._sum(rows, n) for rows in counts for n in shape.fillings}
        masked = self._pack_a(None) if shape.has_masks else None
        self.packs = {rows: masked or self._pack_a(rows) for rows in counts}
        self.pack_b = self._pack_b()

    def _function(self, name: str, *types: ir.Type) -> tuple[ir.IRBuilder, tuple[ir.Value, ...]]:
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        if name != KERNEL:
            function.linkage = "internal"
            function.attributes.add("noinline")
        return ir.IRBuilder(function.append_basic_block("entry")), function.args

    def _at(self, b: ir.IRBuilder, base: ir.Value, index: ir.Value | int, type: ir.Type | None = None) -> ir.Value:
        index = index if isinstance(index, ir.Value) else I64(index)
        return b.gep(base, [index], source_etype=type or self.number)

    # ---------------------------------------------------------------- the order of the work

    def kernel(self) -> None:
        b, (begin, end, self.context) = self._function(KERNEL, I64, I64, PTR)
        self.b = b
        entry = self._entry
        self.rows, n, along_a, along_b, a, self.a_stride = (entry(b, I64(k)) for k in range(6))
        self.a = b.inttoptr(a, PTR)
        self.products, panels, target, each = (entry(b, I64(k)) for k in range(6, HEADER))
        with loop(b, begin, end, "part") as part:
            i, j = b.sdiv(part, along_b), b.srem(part, along_b)
            self.left, self.right = (b.sdiv(b.mul(n, k), along_a) for k in (i, b.add(i, I64(1))))
            low, high = (b.sdiv(b.mul(panels, k), along_b) for k in (j, b.add(j, I64(1))))
            self.packed_b = self._at(b, b.inttoptr(target, PTR), b.mul(part, each))
            self.packed_a = self._at(b, self.packed_b, self.shape.b_size)
            chunks = _Spread(b, low, high, self.shape.chunk)
            blocks = _Spread(b, I64(0), self.rows, BLOCK_ROWS)
            groups = _Spread(b, self.left, self.right, self.shape.rows * GROUP)
            with (
                chunks.each("chunk") as (_, first, last),
                blocks.each("block") as (_, top, bottom),
                groups.each("group") as (_, start, stop),
            ):
                block = _Block(top, bottom, first, last, start, stop, b.sub(bottom, top))
                panels = _Spread(b, start, stop, self.shape.rows)
                self._pack_group(block, panels)
                with panels.each("panel") as (number, low, high):
                    self._panel(block, number, low, high)
        b.ret_void()

    def _pack_group(self, block: _Block, panels: _Spread) -> None:
        b = self.b
        few = _Spread(b, block.top, block.bottom, FEW_ROWS)
        with few.each("few") as (_, top, bottom), panels.each("panel") as (_, low, high):
            columns = b.sub(high, low)
            to = self._at(b, self._packed_a(block, low), b.mul(b.sub(top, block.top), columns))
            given = [self._number_of_a(top, low), self.a_stride, b.sub(bottom, top), columns, to]
            self._call(columns, self.packs, given)

    def _packed_a(self, block: _Block, column: ir.Value) -> ir.Value:
        """Where the group's panel that starts at a column is packed."""
        return self._at(self.b, self.packed_a, self.b.mul(self.b.sub(column, block.start), I64(BLOCK_ROWS)))

    def _panel(self, block: _Block, number: ir.Value, low: ir.Value, high: ir.Value) -> None:
        """Columns low to high of a with every panel of b."""
        b = self.b
        columns = b.sub(high, low)
        is_first = b.icmp_signed("==", low, self.left)
        with self._each_panel(block.first, block.last) as of:
            with b.if_then(is_first):
                source = self._at(b, of.b, b.add(b.mul(block.top, of.stride), of.column), self.stored)
                b.call(self.pack_b, [source, of.stride, block.rows, of.left, of.packed])
            out = self._at(b, of.out, b.add(b.mul(low, of.width), of.column))
            ahead = self._ahead(block, number, of)
            given = [self._packed_a(block, low), of.packed, block.rows, out, of.width, of.left, block.top, *ahead]
            key = columns
            for n in self.shape.fillings[1:]:  # the last panel of b may have few columns
                is_narrow = b.icmp_signed("<=", of.left, I64(n * self.shape.lanes))
                key = b.select(is_narrow, b.add(columns, I64(self._key(0, n))), key)
            self._call(key, self.sums, given)

    def _key(self, rows: int, vectors: int) -> int:
        """What the sums of so many rows and vectors go by."""
        return (self.shape.vectors - vectors) * (self.shape.rows + 1) + rows

    def _ahead(self, block: _Block, number: ir.Value, of: _Panel) -> tuple[ir.Value, ir.Value]:
        """What is packed next comes closer while sums are computed, for each sum one line of every row: (address, row
        stride). The first panels of a block's last group ask for the next block's b, the others for the next group of a.
        """
        b, line, lines = self.b, I64(LINE_BYTES // BYTES[self.element]), I64(self.shape.vectors)
        is_last = b.icmp_signed("==", block.stop, self.right)
        is_b = b.and_(is_last, b.icmp_signed("<", number, lines))
        at = b.add(b.mul(block.bottom, of.stride), b.add(of.column, b.mul(number, line)))
        of_b = self._at(b, of.b, at, self.stored)
        before = b.select(is_last, lines, I64(0))
        column = b.mul(line, b.add(b.mul(b.sub(number, before), b.sub(block.last, block.first)), of.index))
        next_row, next_column = b.select(is_last, block.bottom, block.top), b.select(is_last, self.left, block.stop)
        of_a = self._number_of_a(next_row, b.add(next_column, column))
        is_a = b.icmp_signed("<=", column, b.sub(block.stop, block.start))
        address = b.select(is_b, of_b, b.select(is_a, of_a, of.packed))
        return address, b.select(is_b, of.stride, b.select(is_a, self.a_stride, I64(0)))

    def _number_of_a(self, row: ir.Value, column: ir.Value) -> ir.Value:
        b = self.b
        return self._at(b, self.a, b.add(b.mul(row, self.a_stride), column), self.stored)

    def _entry(self, b: ir.IRBuilder, k: ir.Value) -> ir.Value:
        return b.load(b.gep(self.context, [k], source_etype=I64), typ=I64)

    @contextmanager
    def _each_panel(self, first: ir.Value, last: ir.Value) -> Iterator[_Panel]:
        """Panels first to last of all products' b."""
        b = self.b
        with loop(b, 0, self.products, "product") as product:
            at = b.add(I64(HEADER), b.mul(product, I64(PER_PRODUCT)))
            source, stride, width, before, out = (self._entry(b, b.add(at, I64(k))) for k in range(PER_PRODUCT))
            count = b.sdiv(b.add(width, I64(self.shape.columns - 1)), I64(self.shape.columns))
            low, high = _most(b, first, before), least(b, last, b.add(before, count))
            with loop(b, low, high, "panel") as panel:
                column, index = b.mul(b.sub(panel, before), I64(self.shape.columns)), b.sub(panel, first)
                packed = self._at(b, self.packed_b, b.mul(index, I64(self.shape.columns * BLOCK_ROWS)))
                left = b.sub(width, column)
                yield _Panel(b.inttoptr(source, PTR), stride, column, left, index, packed, b.inttoptr(out, PTR), width)

    def _call(self, key: ir.Value, functions: dict[int, ir.Function], given: list[ir.Value]) -> None:
        """Call the function that goes by a number."""
        b = self.b
        if len(set(functions.values())) == 1:
            b.call(functions[1], given)
            return
        after = b.append_basic_block("done")
        switch = b.switch(key, after)
        for number, function in functions.items():
            block = b.append_basic_block(function.name)
            switch.add_case(I64(number), block)
            b.position_at_end(block)
            b.call(function, given)
            b.branch(after)
        b.position_at_end(after)

    # ---------------------------------------------------------------- in registers

    def _sum(self, rows: int, vectors: int) -> ir.Function:
        """``sum(a, b, steps, out, width, columns, before, ahead, stride)``: a panel of a times a panel of b over so many rows
        of both, put into out, or added to it where there have been rows before.
        """
        types, lanes = self.types, self.shape.lanes
        b, given = self._function(f"sum{rows}x{vectors}", PTR, PTR, I64, PTR, I64, I64, I64, PTR, I64)
        a, of_b, steps, out, width, columns, before, ahead, stride = given

        def step(values: list[ir.Value]) -> list[ir.Value]:
            *sums, row_a, row_b, row_ahead = values
            _ask(b, row_ahead)
            right = [types.load(b, self._at(b, row_b, v * lanes), self.computed) for v in range(vectors)]
            for r in range(rows):
                left = types.load_scalar(b, self._at(b, row_a, r), self.computed)
                for v in range(vectors):
                    sums[r * vectors + v] = fma(b, left, right[v], sums[r * vectors + v])
            next_ahead = self._at(b, row_ahead, stride, self.stored)
            return [*sums, self._at(b, row_a, rows), self._at(b, row_b, self.shape.columns), next_ahead]

        def several(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            for _ in range(UNROLL):
                values = step(values)
            return values

        lines = [self._at(b, out, b.mul(width, I64(r))) for r in range(rows)]
        for line in lines:  # what the sums will be added to comes closer
            for column in (*range(0, vectors * lanes, lanes), vectors * lanes - 1):
                _ask(b, self._at(b, line, column), writes=True)
        # addresses are counted up: LLVM keeps the next rows' numbers on the stack where they are computed
        values = [*[ir.Constant(types.type, None)] * (rows * vectors), a, of_b, ahead]
        values = accumulate(b, b.udiv(steps, I64(UNROLL)), values, several)
        values = accumulate(b, b.urem(steps, I64(UNROLL)), values, lambda k, values: step(values))
        sums = values[:-3]
        self._put(b, vectors, lines, sums, columns, before)
        b.ret_void()
        return b.function

    def _put(
        self,
        b: ir.IRBuilder,
        vectors: int,
        lines: list[ir.Value],
        sums: list[ir.Value],
        columns: ir.Value,
        before: ir.Value,
    ) -> None:
        """Sums into the results, or added to them where there have been rows before; no lane beyond the columns."""
        types, lanes = self.types, self.shape.lanes

        def put(is_whole: bool) -> None:
            inside = [lanes_below(b, b.sub(columns, I64(v * lanes)), lanes) for v in range(vectors)]
            is_there = splat(b, b.icmp_signed("!=", before, I64(0)), lanes)
            for r, line in enumerate(lines):
                for v, mask in enumerate(inside):
                    to, value = self._at(b, line, v * lanes), sums[r * vectors + v]
                    if is_whole:
                        old = b.select(is_there, types.load(b, to, self.computed), ir.Constant(types.type, None))
                        types.store(b, b.fadd(old, value), to, self.computed)
                    else:  # no lane is read where there is nothing to add to
                        old = types.load(b, to, self.computed, b.and_(is_there, mask))
                        types.store(b, b.fadd(old, value), to, self.computed, mask)

        if self.shape.has_masks:
            put(False)
        else:
            either(b, b.icmp_signed(">=", columns, I64(vectors * lanes)), put)

    # ---------------------------------------------------------------- packing

    def _pack_a(self, known: int | None) -> ir.Function:
        """``pack(source, row stride, rows, columns, target)``: the columns of a panel, row after row; how many may be known."""
        b, given = self._function(f"pack_a{known or ''}", PTR, I64, I64, I64, PTR)
        source, stride, rows, columns, target = given
        pieces = list(self._pieces(b, columns) if known is None else self._parts(known))
        with loop(b, 0, rows, "row") as row:
            start = self._at(b, source, b.mul(row, stride), self.stored)
            to = self._at(b, target, b.mul(row, columns))
            for first, lanes, mask in pieces:
                types = Vectors(self.element, lanes)
                value = types.load(b, self._at(b, start, first, self.stored), self.element, mask)
                types.store(b, value, self._at(b, to, first), self.computed, mask)
        b.ret_void()
        return b.function

    def _pieces(self, b: ir.IRBuilder, columns: ir.Value) -> Iterator[tuple[int, int, ir.Value]]:
        """Columns as vectors with masks: (first, lanes, mask)."""
        lanes = self.shape.lanes
        for first in range(0, self.shape.rows, lanes):
            yield first, lanes, lanes_below(b, b.sub(columns, I64(first)), lanes)

    def _parts(self, columns: int) -> Iterator[tuple[int, int, None]]:
        """Columns as shorter and shorter vectors."""
        first, lanes = 0, self.shape.lanes
        while first < columns:
            while lanes > columns - first:
                lanes //= 2
            yield first, lanes, None
            first += lanes

    def _pack_b(self) -> ir.Function:
        """``pack(source, row stride, rows, columns, target)``: a panel, zeros beyond the last column."""
        types, lanes = self.types, self.shape.lanes
        b, (source, stride, rows, columns, target) = self._function("pack", PTR, I64, I64, I64, PTR)
        masks = [lanes_below(b, b.sub(columns, I64(v * lanes)), lanes) for v in range(self.shape.vectors)]
        with loop(b, 0, rows, "row") as row:
            start = self._at(b, source, b.mul(row, stride), self.stored)
            to = self._at(b, target, b.mul(row, I64(self.shape.columns)))
            for v, mask in enumerate(masks):
                value = types.load(b, self._at(b, start, v * lanes, self.stored), self.element, mask)
                types.store(b, value, self._at(b, to, v * lanes), self.computed)
        b.ret_void()
        return b.function
