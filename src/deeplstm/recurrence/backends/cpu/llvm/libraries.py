"""Which functions kernels share, by what they depend on: all that has to be known of them where the cache has their code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .elements import Element
from .host import Host

if TYPE_CHECKING:
    from llvmlite import ir

MOST_ROWS = 10
"""Rows at once, where registers hold more: each number of rows is a function to compile, and the first cache keeps 8 lines that
lie a multiple of 4096 bytes apart."""

KINDS = ("rows", "columns", "numbers")
"""How weights may lie: the numbers of a k side by side, those of a column, or neither."""


def most_rows(vectors: int, host: Host) -> int:
    """As many as have registers for their sums, beside the weights of a k and a number of a row."""
    return max(1, min(MOST_ROWS, (host.registers - 1) // vectors - 1))


class Products(NamedTuple):
    """The functions of a shape: the first is for the only row of a batch, the others for 1, 2, ... rows.

    Attributes:
        element: of rows and weights.
        vectors: of weights for each k.
        is_large: whether weights come from beyond the second cache, and are asked for before they are used.
    """

    element: Element
    vectors: int
    is_large: bool

    @property
    def signature(self) -> ir.FunctionType:
        from .products import signature

        return signature(self)

    def names(self, host: Host) -> list[str]:
        return [f"product{rows}" for rows in range(most_rows(self.vectors, host) + 1)]

    def emit(self, host: Host) -> ir.Module:
        from .products import emit

        return emit(self, host)


class Packing(NamedTuple):
    """The functions that pack weights of an element type, one for each of `KINDS`."""

    element: Element

    def names(self, host: Host) -> list[str]:
        return [f"pack_{kind}" for kind in KINDS]

    def emit(self, host: Host) -> ir.Module:
        from .packing import emit

        return emit(self, host)


Library = Packing | Products
"""Functions that a kernel calls, which are compiled together. Its ``repr`` says all that they depend on."""
