"""How a stack prints: one row a layer, with shapes and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from .recurrent import Recurrent

RIGHT = (0, 5)  # columns of numbers


class Row(NamedTuple):
    """One layer of a stack: widths (None: unknown), the link around it, and all that has its parameters."""

    layer: nn.Module
    reads: int | None
    gives: int | None
    link: str
    parts: Sequence[nn.Module]


def table(stack: nn.Module, options: Sequence[str], order: str, rows: Sequence[Row]) -> str:
    """A stack in lines: what it is, then what each layer reads, gives and holds."""
    head = ", ".join([f"Stack of {len(rows)} layers, {_count([stack]):,} parameters", *options])
    cells = [("", "layer", "reads", "gives", "link", "parameters")]
    for n, row in enumerate(rows):
        whole_numbers = n == 0 and isinstance(row.layer, nn.Embedding)
        reads = f"({order})" if whole_numbers else _shape(order, row.reads)
        cells.append(
            (str(n), _describe(row.layer), reads, _shape(order, row.gives), row.link, f"{_count(row.parts):,}")
        )
    columns = [c for c in range(6) if any(line[c] for line in cells[1:])]
    widths = [max(len(line[c]) for line in cells) for c in range(6)]
    lines = (
        "  ".join(line[c].rjust(widths[c]) if c in RIGHT else line[c].ljust(widths[c]) for c in columns)
        for line in cells
    )
    return "\n".join([head, *(f"  {line}".rstrip() for line in lines)])


def _shape(order: str, width: int | None) -> str:
    return f"({order}, {'...' if width is None else width})"


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _describe(layer: nn.Module) -> str:
    """A layer in one line; a cell rather than the `Recurrent` around it."""
    if isinstance(layer, Recurrent):
        flags = ", ".join(f for f in ("bidirectional", "reverse") if getattr(layer, f))
        return _describe(layer.cell) + (f", {flags}" if flags else "")
    if len(text := repr(layer).split("\n")) == 1 and len(text[0]) < 100:
        return text[0]
    held = getattr(layer, "layers", None) or layer.children()  # of a stack, its layers without dropout and gates
    inside = layer.extra_repr() or ", ".join(_describe(child) for child in held)
    return f"{type(layer).__name__}({inside})"
