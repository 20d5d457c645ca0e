"""Weights into the order in which products read them: [panel][k][linear][column], zeros beyond the last column."""

from __future__ import annotations

from llvmlite import ir

from ...program import free
from .control import least, loop
from .layout import PACKED, PARTS, PREPARE, Layout
from .memory import I32, I64, PTR, STORED, Element, lanes_below, masked


def emit_packing(module: ir.Module, layout: Layout) -> None:
    """`PREPARE` (begin, end, context): pack the parts begin to end of all panels."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64, PTR]), PREPARE)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    begin, end, context = function.args
    entry = lambda n: b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64)  # noqa: E731
    parts, target = entry(PARTS), b.inttoptr(entry(PACKED), PTR)
    stored, lanes = STORED[layout.element], layout.lanes
    block = b.alloca(ir.VectorType(stored, lanes), lanes)  # of a transposition
    for packed in layout.packed:
        tile, width = packed.tile, packed.stage.width
        first, last = (b.sdiv(b.mul(n, I64(tile.panels)), parts) for n in (begin, end))
        for done, start in zip(tile.passes, packed.passes, strict=True):
            per_k = len(done.linears) * tile.vectors * lanes
            for i, linear in enumerate(done.linears):
                source, offset, strides = free.view_of(linear.args[1])
                weights = b.gep(b.inttoptr(entry(layout.source_at(source)), PTR), [I64(offset)], source_etype=stored)
                with loop(b, first, last, "panel") as panel, loop(b, 0, tile.vectors, "vector") as v:
                    column = b.mul(b.add(b.mul(panel, I64(tile.vectors)), v), I64(lanes))
                    at = b.add(b.mul(panel, I64(packed.panel)), b.mul(v, I64(lanes)))
                    out = b.gep(
                        target, [b.add(at, I64(packed.start + start + i * tile.vectors * lanes))], source_etype=stored
                    )
                    _Panel(b, layout.element, lanes, weights, strides, width, done.input.width, per_k).pack(
                        column, out, block
                    )
    b.ret_void()


class _Panel:
    """Packs one vector of columns, for every k."""

    def __init__(
        self,
        b: ir.IRBuilder,
        element: Element,
        lanes: int,
        weights: ir.Value,
        strides: tuple[int, ...],
        width: int,
        K: int,
        per_k: int,
    ) -> None:
        self.b, self.lanes, self.weights, self.width, self.K, self.per_k = b, lanes, weights, width, K, per_k
        self.stored = STORED[element]
        self.type = ir.VectorType(self.stored, lanes)
        self.along_k, self.along_n = strides

    def pack(self, column: ir.Value, out: ir.Value, block: ir.Value) -> None:
        if self.along_n == 1:
            self._rows(column, out)
        elif self.along_k == 1:
            self._blocks(column, out, block)
        else:
            self._numbers(column, out)

    def _at(self, k: ir.Value, n: ir.Value) -> ir.Value:
        b = self.b
        index = b.add(b.mul(k, I64(self.along_k)), b.mul(n, I64(self.along_n)))
        return b.gep(self.weights, [index], source_etype=self.stored)

    def _put(self, value: ir.Value, out: ir.Value, k: ir.Value) -> None:
        to = self.b.gep(out, [self.b.mul(k, I64(self.per_k))], source_etype=self.stored)
        self.b.store(value, to).align = self.stored.width // 8 if isinstance(self.stored, ir.IntType) else 4

    def _load(self, at: ir.Value, mask: ir.Value) -> ir.Value:
        load = masked(self.b, "load", self.type)
        return self.b.call(load, [at, I32(2 if isinstance(self.stored, ir.IntType) else 4), mask, self._zeros()])

    def _zeros(self) -> ir.Constant:
        return ir.Constant(self.type, None)

    def _rows(self, column: ir.Value, out: ir.Value) -> None:
        """Columns lie side by side."""
        mask = lanes_below(self.b, self.b.sub(I64(self.width), column), self.lanes)
        with loop(self.b, 0, self.K, "k") as k:
            self._put(self._load(self._at(k, column), mask), out, k)

    def _blocks(self, column: ir.Value, out: ir.Value, block: ir.Value) -> None:
        """The numbers of a column lie side by side: as many columns as there are lanes are transposed in registers."""
        b, lanes = self.b, self.lanes
        blocks = -(-self.K // lanes)
        with loop(b, 0, blocks, "block") as n:
            k = b.mul(n, I64(lanes))
            left = b.sub(I64(self.K), k)
            inside = lanes_below(b, left, lanes)
            rows = []
            for lane in range(lanes):
                this = b.add(column, I64(lane))
                exists = b.icmp_signed("<", this, I64(self.width))
                mask = b.select(exists, inside, ir.Constant(inside.type, None))
                rows.append(self._load(self._at(k, this), mask))
            for lane, value in enumerate(self._transposed(rows)):
                b.store(value, b.gep(block, [I64(lane)], source_etype=self.type))
            with loop(b, 0, least(b, left, I64(lanes)), "row") as row:
                value = b.load(b.gep(block, [row], source_etype=self.type), typ=self.type)
                self._put(value, out, b.add(k, row))

    def _transposed(self, rows: list[ir.Value]) -> list[ir.Value]:
        """A square of numbers, its blocks off the diagonal exchanged at every size: 1, 2, 4, ..."""
        lanes, size = self.lanes, 1
        while size < lanes:
            for i in range(lanes):
                if i & size:
                    continue
                low, high = rows[i], rows[i | size]
                upper = [lanes + (j ^ size) if j & size else j for j in range(lanes)]
                lower = [lanes + j if j & size else j | size for j in range(lanes)]
                rows[i] = self._shuffled(low, high, upper)
                rows[i | size] = self._shuffled(low, high, lower)
            size *= 2
        return rows

    def _shuffled(self, x: ir.Value, y: ir.Value, order: list[int]) -> ir.Value:
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, self.lanes), order))

    def _numbers(self, column: ir.Value, out: ir.Value) -> None:
        """Neither: one by one."""
        b = self.b
        with loop(b, 0, self.K, "k") as k:
            to = b.gep(out, [b.mul(k, I64(self.per_k))], source_etype=self.stored)
            with loop(b, 0, self.lanes, "lane") as lane:
                this = b.add(column, lane)
                exists = b.icmp_signed("<", this, I64(self.width))
                value = b.load(self._at(k, b.select(exists, this, I64(0))), typ=self.stored)
                value = b.select(exists, value, ir.Constant(self.stored, 0))
                b.store(value, b.gep(to, [lane], source_etype=self.stored))
