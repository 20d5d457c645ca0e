"""Loads and stores of one element type, as vectors in registers see them."""

from __future__ import annotations

from llvmlite import ir

from .elements import BYTES as BYTES
from .elements import Element as Element
from .elements import Lanes

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
PTR = ir.PointerType()
STORED: dict[Element, ir.Type] = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "bfloat16": I16, "bool": I8}


class Vectors(Lanes):
    """Vectors of the type that is computed with: float32 for bfloat16 in memory, else the type in memory."""

    @property
    def scalar(self) -> ir.Type:
        return ir.DoubleType() if self.element == "float64" else ir.FloatType()

    @property
    def type(self) -> ir.VectorType:
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def mask(self) -> ir.VectorType:
        return ir.VectorType(I1, self.lanes)

    def load(self, b: ir.IRBuilder, pointer: ir.Value, element: Element, mask: ir.Value | None = None) -> ir.Value:
        """A vector from memory; zeros where the mask is false. Of bytes: a mask."""
        stored = ir.VectorType(STORED[element], self.lanes)
        if mask is None:
            value = b.load(pointer, typ=stored)
            value.align = BYTES[element]
        else:
            load = masked(b, "load", stored)
            value = b.call(load, [pointer, I32(BYTES[element]), mask, ir.Constant(stored, None)])
        return self._widened(b, value, element)

    def load_scalar(self, b: ir.IRBuilder, pointer: ir.Value, element: Element) -> ir.Value:
        """One number in every lane."""
        value = b.load(pointer, typ=STORED[element])
        value.align = BYTES[element]
        if element == "bfloat16":  # in every lane first: a number of 16 bits is widened by way of another register
            halves = splat(b, value, 2 * self.lanes)  # the upper ones are it, the lower ones go
            integers = ir.VectorType(I32, self.lanes)
            return b.bitcast(b.shl(b.bitcast(halves, integers), _splat(integers, 16)), self.type)
        return splat(b, self._widened(b, value, element), self.lanes)

    def store(
        self, b: ir.IRBuilder, value: ir.Value, pointer: ir.Value, element: Element, mask: ir.Value | None = None
    ) -> None:
        value = self._narrowed(b, value, element)
        if mask is None:
            b.store(value, pointer).align = BYTES[element]
        else:
            b.call(masked(b, "store", value.type), [value, pointer, I32(BYTES[element]), mask])

    def store_first(self, b: ir.IRBuilder, value: ir.Value, pointer: ir.Value, element: Element) -> None:
        """The first lane alone."""
        one = b.extract_element(self._narrowed(b, value, element), I32(0))
        b.store(one, pointer).align = BYTES[element]

    def _widened(self, b: ir.IRBuilder, value: ir.Value, element: Element) -> ir.Value:
        if element == "bool":
            return b.icmp_unsigned("!=", value, ir.Constant(value.type, None))
        if element == "bfloat16":
            integers = _like(value.type, I32)
            shifted = b.shl(b.zext(value, integers), _splat(integers, 16))
            return b.bitcast(shifted, _like(value.type, ir.FloatType()))
        return value

    def _narrowed(self, b: ir.IRBuilder, value: ir.Value, element: Element) -> ir.Value:
        if element == "bool":
            return b.zext(value, _like(value.type, I8))
        if element == "bfloat16":  # to nearest, ties to even; NaN stays NaN
            integers = _like(value.type, I32)
            bits = b.bitcast(value, integers)
            odd = b.and_(b.lshr(bits, _splat(integers, 16)), _splat(integers, 1))
            rounded = b.add(bits, b.add(odd, _splat(integers, 0x7FFF)))
            quiet = b.or_(bits, _splat(integers, 0x400000))
            bits = b.select(b.fcmp_unordered("uno", value, value), quiet, rounded)
            return b.trunc(b.lshr(bits, _splat(integers, 16)), _like(value.type, I16))
        return value


def compute_element(types: Vectors) -> Element:
    """How accumulators lie in memory."""
    return "float64" if types.element == "float64" else "float32"


def splat(b: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, lanes), None))


def _like(type: ir.Type, element: ir.Type) -> ir.Type:
    return ir.VectorType(element, type.count) if isinstance(type, ir.VectorType) else element


def _splat(type: ir.Type, number: int) -> ir.Constant:
    return ir.Constant(type, [number] * type.count if isinstance(type, ir.VectorType) else number)


def lanes_below(b: ir.IRBuilder, left: ir.Value, lanes: int) -> ir.Value:
    """A mask of the first ``left`` lanes."""
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return b.icmp_signed("<", numbers, splat(b, b.trunc(left, I32), lanes))


def prefetch(b: ir.IRBuilder, pointer: ir.Value) -> None:
    """Ask for a line of the cache that will be wanted soon. Any address will do: nothing happens where there is no memory."""
    name = "llvm.prefetch.p0"
    if name not in b.module.globals:
        ir.Function(b.module, ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32]), name)
    b.call(b.module.globals[name], [pointer, I32(0), I32(3), I32(1)])  # to read, into the first cache, data


def masked(b: ir.IRBuilder, what: str, vector: ir.VectorType) -> ir.Function:
    """LLVM's masked "load" or "store" of a vector."""
    name = f"llvm.masked.{what}.v{vector.count}{_suffix(vector.element)}.p0"
    if name in b.module.globals:
        return b.module.globals[name]
    mask = ir.VectorType(I1, vector.count)
    if what == "load":
        signature = ir.FunctionType(vector, [PTR, I32, mask, vector])
    else:
        signature = ir.FunctionType(ir.VoidType(), [vector, PTR, I32, mask])
    return ir.Function(b.module, signature, name)


def _suffix(type: ir.Type) -> str:
    return {ir.FloatType(): "f32", ir.DoubleType(): "f64"}.get(type) or f"i{type.width}"
