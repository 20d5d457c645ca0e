"""What numbers in memory are, apart from how LLVM says it: what is asked without compiling anything."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .host import Host

Element = Literal["float32", "float64", "bfloat16", "bool"]

BYTES: dict[Element, int] = {"float32": 4, "float64": 8, "bfloat16": 2, "bool": 1}


class Lanes(NamedTuple):
    """Numbers of an element type that are computed with at once."""

    element: Element
    lanes: int


def lanes_of(element: Element, host: Host) -> int:
    """Numbers in a vector."""
    return host.vector_bytes // (8 if element == "float64" else 4)
