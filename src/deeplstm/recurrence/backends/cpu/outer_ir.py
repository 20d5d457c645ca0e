"""Products that sum over rows, in LLVM IR: out[i, j] = sum over r of a[r, i] * b[r, j].

What is emitted reads as it runs::

    for each part of the results that is to be computed:
        for each chunk of b's panels: for each block of rows:
            pack the panels of b                                    (stay in the second cache)
            for each group of columns of a: pack them
                for each panel of a: for each panel of b:           (the panel of a stays in the first cache)
                    the sum over the block's rows, in registers; add it to the result

Every number of a result is the sum over a block's rows, one after another, then the sum of the blocks, one after another:
its bits depend on the rows alone, not on where in which part it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from .control import accumulate, least, loop
from .host import Host
from .layout import KERNEL
from .math import fma
from .memory import BYTES, I32, I64, PTR, STORED, Element, Vectors, lanes_below

BLOCK_ROWS = 128
"""Rows that are packed and summed at a time."""

GROUP = 16
"""Panels of a that are packed at a time: their columns are whole lines of the cache."""

PACKED_BYTES = 512 * 1024
"""Panels of b that are packed at a time, at most: they are read again for each panel of a, out of the second cache."""

UNROLL = 2
PF_OUT = True
FEW_ROWS = 8
PREFETCH = 2

HEADER = 10
"""Entries of the context before its products: rows, columns of a, parts along a and along b, a, its row stride, number of
products, panels of all b, where to pack, elements that each part has there."""
PER_PRODUCT = 5
"""b, its row stride, columns, number of its first panel, result (columns of a, columns of b)."""


@dataclass(frozen=True)
class Shape:
    """How the registers are used: ``rows`` numbers of a times ``vectors`` vectors of b.

    Attributes:
        chunk: panels of b that are packed at a time.
        bytes: of a number as it is computed with.
    """

    rows: int
    vectors: int
    lanes: int
    bytes: int
    chunk: int
    uses_masks: bool

    @property
    def columns(self) -> int:
        """Of a panel of b."""
        return self.vectors * self.lanes

    @property
    def b_size(self) -> int:
        """Elements of packed b."""
        return self.chunk * self.columns * BLOCK_ROWS

    @property
    def size(self) -> int:
        """Elements of all that is packed at a time."""
        return self.b_size + self.rows * GROUP * BLOCK_ROWS


def shape(element: Element, host: Host) -> Shape:
    """Two vectors, and as many rows as there are registers left: the panel of a is broadcast from the first cache."""
    size = 8 if element == "float64" else 4
    lanes, vectors = host.vector_bytes // size, 2
    rows = 14 if host.registers == 32 else 6
    chunk = PACKED_BYTES // (BLOCK_ROWS * vectors * lanes * size)
    return Shape(rows, vectors, lanes, size, chunk, host.vector_bytes == 64)


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


def prefetch(b: ir.IRBuilder) -> ir.Function:
    name = "llvm.prefetch.p0"
    signature = ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32])
    return b.module.globals.get(name) or ir.Function(b.module, signature, name)


def _most(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


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
        self.sums = {
            (rows, vectors): self._sum(rows, vectors)
            for rows in range(1, shape.rows + 1)
            for vectors in range(1, shape.vectors + 1)
        }
        self.packs = {rows: self._pack_a(rows) for rows in range(1, shape.rows + 1)}
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
                panels_of_a = _Spread(b, start, stop, self.shape.rows)
                self._pack_a_panels(panels_of_a, top, bottom)
                with panels_of_a.each("panel") as (number, i0, i1):
                    self._sums(number, first, last, (start, stop), (i0, i1), top, bottom)
        b.ret_void()

    def _pack_a_panels(self, panels: _Spread, top: ir.Value, bottom: ir.Value) -> None:
        """A few rows at a time, so that a line of the cache is read once."""
        b = self.b
        few = _Spread(b, top, bottom, FEW_ROWS)
        with few.each("few") as (_, r0, r1), panels.each("panel") as (_, i0, i1):
            to = self._at(b, self._panel_of_a(i0, panels.low), b.mul(b.sub(r0, top), b.sub(i1, i0)))
            self._by_rows(b.sub(i1, i0), self.packs, [self._number_of_a(r0, i0), self.a_stride, b.sub(r1, r0), to])

    def _panel_of_a(self, column: ir.Value, start: ir.Value) -> ir.Value:
        """Where a panel of a group that starts at this column is packed."""
        b = self.b
        return self._at(b, self.packed_a, b.mul(b.sub(column, start), I64(BLOCK_ROWS)))

    def _sums(
        self, number: ir.Value, first: ir.Value, last: ir.Value, group, panel, top: ir.Value, bottom: ir.Value
    ) -> None:
        """A panel of a, columns i0 to i1, times the panels of b, which are packed when the first one needs them."""
        b = self.b
        (start, stop), (i0, i1) = group, panel
        count = b.sub(bottom, top)
        is_first, is_last = b.icmp_signed("==", i0, self.left), b.icmp_signed("==", stop, self.right)
        next_a = self._number_of_a(b.select(is_last, bottom, top), b.select(is_last, self.left, stop))
        line = I64(64 // BYTES[self.element])
        with self._each_panel(first, last) as of:
            with b.if_then(is_first):
                source = self._at(b, of.b, b.add(b.mul(top, of.stride), of.column), self.stored)
                b.call(self.pack_b, [source, of.stride, count, of.left, of.packed])
            out = self._at(b, of.out, b.add(b.mul(i0, of.width), of.column))
            # the first panels ask for the next block's b, the others for a
            is_b = b.and_(is_last, b.icmp_signed("<", number, I64(2)))
            before = b.select(is_last, I64(2), I64(0))
            column = b.mul(line, b.add(b.mul(b.sub(number, before), b.sub(last, first)), of.index))
            is_a = b.icmp_signed("<=", column, b.sub(stop, start))
            ahead_a = self._at(b, next_a, column, self.stored)
            ahead_b = self._at(b, of.b, b.add(b.mul(bottom, of.stride), b.add(of.column, b.mul(number, line))), self.stored)
            ahead = [
                b.select(is_b, ahead_b, b.select(is_a, ahead_a, of.packed)),
                b.select(is_b, of.stride, b.select(is_a, self.a_stride, I64(0))),
            ]
            of_a = self._panel_of_a(i0, start)
            self._add(b.sub(i1, i0), [of_a, b.sub(i1, i0), of.packed, count, out, of.width, of.left, top, *ahead])

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
                yield _Panel(
                    b.inttoptr(source, PTR), stride, column, left, index, packed, b.inttoptr(out, PTR), width
                )

    def _by_rows(self, rows: ir.Value, functions: dict[int, ir.Function], given: list[ir.Value]) -> None:
        """Call the function for this number of rows."""
        b = self.b
        after = b.append_basic_block("done")
        switch = b.switch(rows, after)
        for r, function in functions.items():
            block = b.append_basic_block(f"rows{r}")
            switch.add_case(I64(r), block)
            b.position_at_end(block)
            b.call(function, given)
            b.branch(after)
        b.position_at_end(after)

    def _add(self, rows: ir.Value, given: list[ir.Value]) -> None:
        """Call the sum for this number of rows and the panel's vectors."""
        b, columns = self.b, given[6]
        vectors = least(b, b.sdiv(b.add(columns, I64(self.shape.lanes - 1)), I64(self.shape.lanes)), I64(self.shape.vectors))
        key = b.add(b.mul(rows, I64(self.shape.vectors)), b.sub(vectors, I64(1)))
        functions = {r * self.shape.vectors + v - 1: f for (r, v), f in self.sums.items()}
        self._by_rows(key, functions, given)

    # ---------------------------------------------------------------- in registers

    def _sum(self, rows: int, vectors: int) -> ir.Function:
        """``sum(a, b, steps, out, width, columns, before, ahead, stride)``: a panel of a times a panel of b over so many rows of both, put
        into out, or added to it where there have been rows before.
        """
        types, lanes = self.types, self.shape.lanes
        b, given = self._function(f"sum{rows}x{vectors}", PTR, I64, PTR, I64, PTR, I64, I64, I64, PTR, I64)
        a, a_stride, of_b, steps, out, width, columns, before, *ahead = given

        def step(row_a: ir.Value, row_b: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            right = [types.load(b, self._at(b, row_b, v * lanes), self.computed) for v in range(vectors)]
            results = []
            for r in range(rows):
                left = types.load_scalar(b, self._at(b, row_a, r), self.computed)
                results += [fma(b, left, right[v], sums[r * vectors + v]) for v in range(vectors)]
            return results

        def several(values: list[ir.Value], count: int) -> list[ir.Value]:
            sums, at = values[:-3], values[-3:]
            for _ in range(count):
                for address in at[2:]:
                    b.call(prefetch(b), [address, I32(0), I32(PREFETCH), I32(1)])
                sums = step(at[0], at[1], sums)
                at = [self._at(b, x, by, t) for x, by, t in zip(at, strides, types_at, strict=True)]
            return [*sums, *at]

        # what the sums will be added to is on its way meanwhile
        for r in range(rows if PF_OUT else 0):
            line = self._at(b, out, b.mul(width, I64(r)))
            for v in range(vectors):
                b.call(prefetch(b), [self._at(b, line, v * lanes), I32(1), I32(3), I32(1)])
            b.call(prefetch(b), [self._at(b, line, vectors * lanes -1), I32(1), I32(3), I32(1)])
        values = [ir.Constant(types.type, None)] * (rows * vectors) + [a, of_b, ahead[0]]
        strides = [a_stride, I64(self.shape.columns), ahead[1]]
        types_at = [self.number, self.number, self.stored]
        times = b.udiv(steps, I64(UNROLL))
        values = accumulate(b, times, values, lambda k, values: several(values, UNROLL))
        if UNROLL > 1:
            values = accumulate(b, b.sub(steps, b.mul(times, I64(UNROLL))), values, lambda k, values: several(values, 1))
        sums = values[:-3]
        # only the last vector may have lanes without a column
        inside = lanes_below(b, b.sub(columns, I64((vectors - 1) * lanes)), lanes)
        is_first = b.icmp_signed("==", before, I64(0))
        after, add, put = (b.append_basic_block(name) for name in ("after", "add", "put"))
        b.cbranch(is_first, put, add)
        for block in (add, put):
            b.position_at_end(block)
            for r in range(rows):
                line = self._at(b, out, b.mul(width, I64(r)))
                for v in range(vectors):
                    to, mask = self._at(b, line, v * lanes), inside if v == vectors - 1 else None
                    value = sums[r * vectors + v]
                    if block is add:
                        value = b.fadd(types.load(b, to, self.computed, mask), value)
                    types.store(b, value, to, self.computed, mask)
            b.branch(after)
        b.position_at_end(after)
        b.ret_void()
        return b.function

    # ---------------------------------------------------------------- packing

    def _pack_a(self, columns: int) -> ir.Function:
        """``pack(source, row stride, rows, target)``: so many columns, row after row."""
        b, (source, stride, rows, target) = self._function(f"pack{columns}", PTR, I64, I64, PTR)
        with loop(b, 0, rows, "row") as row:
            start, to = self._at(b, source, b.mul(row, stride), self.stored), self._at(b, target, b.mul(row, I64(columns)))
            for first, lanes, mask in self._pieces(b, columns):
                types = Vectors(self.element, lanes)
                value = types.load(b, self._at(b, start, first, self.stored), self.element, mask)
                types.store(b, value, self._at(b, to, first), self.computed, mask)
        b.ret_void()
        return b.function

    def _pieces(self, b: ir.IRBuilder, columns: int) -> Iterator[tuple[int, int, ir.Value | None]]:
        """Columns as vectors: (first, lanes, mask)."""
        first, lanes = 0, self.shape.lanes
        while first < columns:
            left = columns - first
            if left < lanes and self.shape.uses_masks:
                yield first, lanes, lanes_below(b, I64(left), lanes)
                return
            while lanes > left:
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
