"""Products in registers, in LLVM IR: a block of rows times a packed panel of weights.

What is emitted reads as it runs, for each number of rows::

    sums = zero
    for each two steps of k: ask for weights that come later (large ones)
        for each of both: for each row: for each vector of the panel: sum += row[k] * panel[k][vector]
    put the sums into the tile, or add them to what lies there: [row][vector]

Nothing in it depends on a cell, but for the number of vectors: what else there is to say comes as arguments, so that all
cells of a process, and of the next ones, share these functions.
"""

from __future__ import annotations

from llvmlite import ir

from . import math
from .control import accumulate
from .elements import BYTES, lanes_of
from .host import Host
from .libraries import Products
from .memory import I1, I8, I64, PTR, STORED, Vectors, compute_element, prefetch

LINE_BYTES = 64
"""What memory brings at once."""


def signature(of: Products) -> ir.FunctionType:
    """``product(rows, row bytes, panel, tile, steps, is_first, ahead...)``: the products of so many steps of K, put into
    the tile if they are the first ones, else added to what is there.

    Where weights are large, those that lie ``ahead`` bytes further are asked for: of each two steps, a distance for the
    first and one for the second.
    """
    return ir.FunctionType(ir.VoidType(), [PTR, I64, PTR, PTR, I64, I1, *[I64] * (2 * of.is_large)])


def emit(shape: Products, host: Host) -> ir.Module:
    """The module of a shape's functions."""
    module = ir.Module(name="deeplstm.products")
    for rows, name in enumerate(shape.names(host)):
        _Product(ir.Function(module, signature(shape), name), shape, rows, host).emit()
    return module


class _Product:
    """Emits one of them.

    The only row of a batch: its few sums would wait for each other, so that each number has several, which take turns. Other
    batches do not use that, lest a row's last bits depend on which rows a thread has.
    """

    def __init__(self, function: ir.Function, shape: Products, rows: int, host: Host) -> None:
        self.function, self.shape, self.rows = function, shape, max(1, rows)
        self.types = Vectors(shape.element, lanes_of(shape.element, host))
        self.ways = 1 if rows else max(1, host.registers // 2 // shape.vectors)
        self.unroll = max(2, self.ways)
        self.sums = self.rows * shape.vectors
        self.per_k = shape.vectors * self.types.lanes * BYTES[shape.element]
        self.b = ir.IRBuilder(function.append_basic_block("entry"))

    def emit(self) -> None:
        b, types = self.b, self.types
        first, row_bytes, panel, tile, steps, is_first, *self.ahead = self.function.args
        further = [b.gep(first, [b.mul(row_bytes, I64(r))], source_etype=I8) for r in range(1, self.rows)]
        self.at = [first, *(_opaque(b, row) for row in further)]
        places = [b.gep(tile, [I64(n)], source_etype=types.type) for n in range(self.sums)]
        values = [*[ir.Constant(types.type, None)] * (self.sums * self.ways), panel]
        times = b.udiv(steps, I64(self.unroll))
        values = accumulate(b, times, values, self._several)
        values = self._rest(b.mul(times, I64(self.unroll)), steps, values)
        sums = values[: self.sums]
        for way in range(1, self.ways):
            others = values[way * self.sums : (way + 1) * self.sums]
            sums = [b.fadd(x, y) for x, y in zip(sums, others, strict=True)]
        self._put(is_first, places, sums)

    def _put(self, is_first: ir.Value, places: list[ir.Value], sums: list[ir.Value]) -> None:
        """Into the tile, or added to what lies there: a sum of few sums is nearer to the truth than one long sum."""
        b, types = self.b, self.types
        first, later = b.append_basic_block("first"), b.append_basic_block("later")
        b.cbranch(is_first, first, later)
        for block in (first, later):
            b.position_at_end(block)
            for place, value in zip(places, sums, strict=True):
                if block is later:
                    value = b.fadd(types.load(b, place, compute_element(types)), value)
                types.store(b, value, place, compute_element(types))
            b.ret_void()

    def _several(self, k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        """As many steps as there are ways, two at least; ``values``: the sums of every way, and where the weights are."""
        first = self.b.mul(k, I64(self.unroll))
        self._ask(values[-1])
        for n in range(self.unroll):
            values = self._step(self.b.add(first, I64(n)), n % self.ways, values)
        return values

    def _rest(self, done: ir.Value, steps: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        """What no whole turn is left for."""
        b = self.b
        if self.unroll > 2:
            return accumulate(b, b.sub(steps, done), values, lambda k, values: self._step(b.add(done, k), 0, values))
        before, odd, after = b.block, b.append_basic_block("odd"), b.append_basic_block("even")
        b.cbranch(b.icmp_signed("<", done, steps), odd, after)
        b.position_at_end(odd)
        stepped = self._step(done, 0, values)
        b.branch(after)
        b.position_at_end(after)
        results = [b.phi(value.type) for value in values]
        for phi, old, new in zip(results, values, stepped, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, odd)
        return results

    def _step(self, k: ir.Value, way: int, values: list[ir.Value]) -> list[ir.Value]:
        b, types, element, vectors = self.b, self.types, self.shape.element, self.shape.vectors
        panel, values = values[-1], list(values)
        weights = [types.load(b, b.gep(panel, [I64(n)], source_etype=self._stored()), element) for n in range(vectors)]
        for r, row in enumerate(self.at):
            number = types.load_scalar(b, b.gep(row, [k], source_etype=STORED[element]), element)
            for n, weight in enumerate(weights):
                at = way * self.sums + r * vectors + n
                values[at] = math.fma(b, number, weight, values[at])
        values[-1] = b.gep(panel, [I64(self.per_k)], source_etype=I8)
        return values

    def _stored(self) -> ir.Type:
        return ir.VectorType(STORED[self.shape.element], self.types.lanes)

    def _ask(self, panel: ir.Value) -> None:
        """For the weights of every other step, from each of two places."""
        b = self.b
        for base in self.ahead:
            for n in range(0, self.unroll, 2):
                for line in range(0, self.per_k, LINE_BYTES):
                    at = b.gep(panel, [base], source_etype=I8)
                    prefetch(b, b.gep(at, [I64(n * self.per_k + line)], source_etype=I8))


def _opaque(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """The same address, of which LLVM does not know any more where it comes from: it would compute those of all rows anew at
    every step, each out of the one before, to keep fewer of them.
    """
    return b.asm(ir.FunctionType(PTR, [PTR]), "", "=r,0", [address], False)
