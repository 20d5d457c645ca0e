"""Weights into the order in which products read them, in LLVM IR: [panel][k][linear][column], zeros beyond the last column."""

from __future__ import annotations

from llvmlite import ir

from .control import loop
from .elements import BYTES, Element, lanes_of
from .host import Host
from .libraries import KINDS, Packing
from .memory import I1, I32, I64, PTR, STORED, lanes_below, masked, prefetch

AHEAD = 2
"""How many blocks of a transposition ahead the weights are asked for."""

SIGNATURE = ir.FunctionType(ir.VoidType(), [PTR, *[I64] * 6, PTR, *[I64] * 3])
"""``pack(weights, along k, along n, K, columns, first, last, target, vectors, panel, per k)``: one linear's part of the panels
first to last.

``along`` are the weights' strides, ``vectors`` how many of columns each panel has of a linear; ``panel`` and ``per k`` the
steps from panel to panel and from k to k in the target, in elements.
"""


def kind_of(strides: tuple[int, ...]) -> int:
    """The place in `KINDS`."""
    along_k, along_n = strides
    return 0 if along_n == 1 else 1 if along_k == 1 else 2


def emit(packing: Packing, host: Host) -> ir.Module:
    """The module of an element type's functions."""
    module, element = ir.Module(name="deeplstm.packing"), packing.element
    for kind, name in zip(KINDS, packing.names(host), strict=True):
        _Pack(ir.Function(module, SIGNATURE, name), element, lanes_of(element, host)).emit(kind)
    return module


class _Pack:
    def __init__(self, function: ir.Function, element: Element, lanes: int) -> None:
        self.lanes, self.stored, self.size = lanes, STORED[element], BYTES[element]
        self.type = ir.VectorType(self.stored, lanes)
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.weights, self.along_k, self.along_n, self.K, self.width, *rest = function.args
        self.first, self.last, self.target, self.vectors, self.panel, self.per_k = rest

    def emit(self, kind: str) -> None:
        b, lanes = self.b, I64(self.lanes)
        pack = {"rows": self._rows, "columns": self._columns, "numbers": self._numbers}[kind]
        self.block = b.alloca(self.type, self.lanes)  # of a transposition
        with loop(b, self.first, self.last, "panel") as panel, loop(b, 0, self.vectors, "vector") as v:
            column = b.mul(b.add(b.mul(panel, self.vectors), v), lanes)
            at = b.add(b.mul(panel, self.panel), b.mul(v, lanes))
            pack(column, b.gep(self.target, [at], source_etype=self.stored))
        b.ret_void()

    def _at(self, k: ir.Value, n: ir.Value) -> ir.Value:
        b = self.b
        index = b.add(b.mul(k, self.along_k), b.mul(n, self.along_n))
        return b.gep(self.weights, [index], source_etype=self.stored)

    def _put(self, value: ir.Value, out: ir.Value, k: ir.Value) -> None:
        to = self.b.gep(out, [self.b.mul(k, self.per_k)], source_etype=self.stored)
        self.b.store(value, to).align = self.size

    def _load(self, at: ir.Value, mask: ir.Value) -> ir.Value:
        load = masked(self.b, "load", self.type)
        return self.b.call(load, [at, I32(self.size), mask, ir.Constant(self.type, None)])

    def _rows(self, column: ir.Value, out: ir.Value) -> None:
        """Columns lie side by side."""
        mask = lanes_below(self.b, self.b.sub(self.width, column), self.lanes)
        with loop(self.b, 0, self.K, "k") as k:
            self._put(self._load(self._at(k, column), mask), out, k)

    def _columns(self, column: ir.Value, out: ir.Value) -> None:
        """The numbers of a column lie side by side: as many columns as there are lanes are transposed in registers."""
        b, lanes = self.b, self.lanes
        blocks = b.sdiv(self.K, I64(lanes))
        done = b.mul(blocks, I64(lanes))
        with loop(b, 0, blocks, "block") as n:
            k = b.mul(n, I64(lanes))
            for lane, value in enumerate(self._block(column, k)):
                self._put(value, out, b.add(k, I64(lane)))
        left = b.sub(self.K, done)
        with b.if_then(b.icmp_signed(">", left, I64(0))):
            for lane, value in enumerate(self._block(column, done, lanes_below(b, left, lanes))):
                b.store(value, b.gep(self.block, [I64(lane)], source_etype=self.type))
            with loop(b, 0, left, "row") as row:
                value = b.load(b.gep(self.block, [row], source_etype=self.type), typ=self.type)
                self._put(value, out, b.add(done, row))

    def _block(self, column: ir.Value, k: ir.Value, inside: ir.Value | None = None) -> list[ir.Value]:
        """A square of numbers, from a column and from k on, transposed. Those of blocks that come soon are asked for: so many
        columns side by side are nothing that the processor foresees.
        """
        b, lanes = self.b, self.lanes
        all_, none = (ir.Constant(ir.VectorType(I1, lanes), [there] * lanes) for there in (1, 0))
        rows = []
        for lane in range(lanes):
            this = b.add(column, I64(lane))
            exists = b.icmp_signed("<", this, self.width)
            rows.append(self._load(self._at(k, this), b.select(exists, inside or all_, none)))
            prefetch(b, self._at(b.add(k, I64(AHEAD * lanes)), this))
        return self._transposed(rows)

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
            to = b.gep(out, [b.mul(k, self.per_k)], source_etype=self.stored)
            with loop(b, 0, self.lanes, "lane") as lane:
                this = b.add(column, lane)
                exists = b.icmp_signed("<", this, self.width)
                value = b.load(self._at(k, b.select(exists, this, I64(0))), typ=self.stored)
                value = b.select(exists, value, ir.Constant(self.stored, 0))
                b.store(value, b.gep(to, [lane], source_etype=self.stored))
