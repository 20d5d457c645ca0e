"""What a stage computes for the columns of a row, in LLVM IR: load, compute, store, reduce, a vector of columns at a time.

The kernels of loops and of single steps share it. Products are not its business: it is handed their results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from llvmlite import ir

from ....program.graph import Node
from ....program.stages import Loop, Place, Stage
from . import math
from .control import either, loop
from .memory import I32, I64, STORED, Element, Vectors, compute_element, lanes_below

Accumulator = Callable[[Node], "ir.Value | None"]
"""The vector of a product's results that belongs to these columns; None for nodes that are no product of the stage."""


class Addresses(Protocol):
    """Where a kernel's values lie."""

    def find(self, places: Iterable[Place], nodes: Iterable[Node] = ()) -> None:
        """Compute what depends on neither row nor column, of places and of free nodes: before any of them is used."""

    def at(self, place: Place, row: ir.Value, column: ir.Value) -> ir.Value:
        """The address of one number."""

    def element(self, node: Node | Place) -> Element:
        """The type in memory of a free node, or of what is at a place."""

    def free(self, node: Node) -> ir.Value:
        """Where a free node starts."""


class Columns:
    """Emits the elementwise part of a stage; `row` and `vector` are called where the code shall stand.

    Args:
        b: where to.
        program, stage: whose.
        types: the vectors that are computed with.
        addresses: where everything is.
        is_split: whether whole vectors and the last, partial one have code of their own, since masks are slow.
    """

    def __init__(
        self, b: ir.IRBuilder, program: Loop, stage: Stage, types: Vectors, addresses: Addresses, *, is_split: bool
    ) -> None:
        self.b, self.program, self.stage, self.types, self.addresses = b, program, stage, types, addresses
        self.is_split = is_split
        self.computed, self.read = program.work_of(stage)
        reduced = dict.fromkeys(node for node, _ in stage.reductions)
        self.sums = {node: b.alloca(types.type, name=node.name) for node in reduced}
        written = [place for _, place in (*stage.stores, *stage.totals, *stage.reductions)]
        read = [program.places[n] for n in self.read if n.kind != "free"]
        addresses.find([*written, *read], [n for n in self.read if n.kind == "free"])

    def row(self, row: ir.Value) -> None:
        """All columns of a row, and what they are reduced to."""
        b, types, stage = self.b, self.types, self.stage
        for node, at in self.sums.items():
            types.store(b, math.splat(types.type, NEUTRAL[node.op]), at, compute_element(types))
        if stage.width > 1 or stage.stores or stage.totals:
            numbers = self.numbers(row)
            with loop(b, 0, -(-stage.width // types.lanes), "vector") as v:
                self.vector(row, b.mul(v, I64(types.lanes)), lambda node: None, numbers)
        for node, place in stage.reductions:
            total = across(b, types.load(b, self.sums[node], compute_element(types)), node.op)
            types.store_first(b, total, self.addresses.at(place, row, I64(0)), self.addresses.element(place))

    def numbers(self, row: ir.Value) -> dict[Node, ir.Value]:
        """What is the same in all columns of a row: means, roots. LLVM would compute it for every vector: for all it knows, a
        store may change what it is made of.
        """
        b, types, is_wide = self.b, self.types, self.stage.width > 1
        known: dict[Node, ir.Value] = {}

        def value(node: Node | float) -> ir.Value:
            return known[node] if isinstance(node, Node) else math.splat(types.type, float(node))

        for node in self.read:
            if node.kind == "free" and node.shape in ((), (1,)):
                known[node] = types.load_scalar(b, self.addresses.free(node), self.addresses.element(node))
            elif node.kind != "free" and node.width == 1 and is_wide:
                place = self.program.places[node]
                known[node] = types.load_scalar(b, self.addresses.at(place, row, I64(0)), self.addresses.element(place))
        for node in self.computed:
            if node.op == "fill":
                known[node] = value(node.args[0])
            elif node.width == 1 and is_wide and node not in self.sums:
                known[node] = emit_operator(b, types, node.op, [value(a) for a in node.args])
        return known

    def vector(self, row: ir.Value, column: ir.Value, accumulator: Accumulator, numbers: dict[Node, ir.Value]) -> None:
        """A vector of columns of a row; the last one may be part of one."""
        b, lanes, width = self.b, self.types.lanes, I64(self.stage.width)

        def part(is_whole: bool) -> None:
            mask = None if is_whole else lanes_below(b, b.sub(width, column), lanes)
            self._part(row, column, mask, accumulator, numbers)

        is_masked = self.stage.width % lanes != 0
        if not self.is_split or not is_masked:
            part(not is_masked)
        elif self.stage.width < lanes:
            part(False)
        else:
            either(b, b.icmp_signed("<=", b.add(column, I64(lanes)), width), part)

    def _part(
        self,
        row: ir.Value,
        column: ir.Value,
        mask: ir.Value | None,
        accumulator: Accumulator,
        numbers: dict[Node, ir.Value],
    ) -> None:
        """The same for those that a mask leaves."""
        b, types, stage, addresses = self.b, self.types, self.stage, self.addresses
        done = dict(numbers)

        def value(node: Node | float) -> ir.Value:
            if not isinstance(node, Node):
                return math.splat(types.type, float(node))
            if node not in done:
                done[node] = compute(node)
            return done[node]

        def compute(node: Node) -> ir.Value:
            if node.kind == "free":
                element = addresses.element(node)
                at = b.gep(addresses.free(node), [column], source_etype=STORED[element])
                return types.load(b, at, element, mask)
            found = accumulator(node)
            if found is not None:
                return found
            if not self.program.is_computed_in(node, stage):
                place = self.program.places[node]
                return types.load(b, addresses.at(place, row, column), addresses.element(place), mask)
            return emit_operator(b, types, node.op, [value(a) for a in node.args])

        # all first: a store may overwrite what one of them is made of
        values = [value(node) for node, _ in stage.stores]
        added = [value(node) for node, _ in stage.totals]
        summed = [value(node.args[0]) for node in self.sums]
        for computed, (_, place) in zip(values, stage.stores, strict=True):
            self._put(computed, place, row, column, mask)
        for computed, (_, place) in zip(added, stage.totals, strict=True):
            old = types.load(b, addresses.at(place, row, column), addresses.element(place), mask)
            self._put(b.fadd(old, computed), place, row, column, mask)
        for part, (node, at) in zip(summed, self.sums.items(), strict=True):
            if mask is not None:
                part = b.select(mask, part, math.splat(types.type, NEUTRAL[node.op]))
            total = COMBINE[node.op](b, types.load(b, at, compute_element(types)), part)
            types.store(b, total, at, compute_element(types))

    def _put(self, value: ir.Value, place: Place, row: ir.Value, column: ir.Value, mask: ir.Value | None) -> None:
        """Store what a stage computed. One number is stored as such: LLVM writes two of 16 bits for a mask of one lane."""
        at, element = self.addresses.at(place, row, column), self.addresses.element(place)
        if self.stage.width == 1:
            self.types.store_first(self.b, value, at, element)
        else:
            self.types.store(self.b, value, at, element, mask)


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
