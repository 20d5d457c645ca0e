"""How a stack prints: one row a layer, with shapes and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from .stack import Stack


def table(stack: Stack) -> str:
    """The layers of a stack with what they read, give and hold."""
    order = "B, T" if stack.batch_first else "T, B"
    rows = [("", "layer", "reads", "gives", "link", "parameters")]
    for n, layer in enumerate(stack.layers):
        reads, gives = (
            f"({order}, {w})" if w is not None else f"({order}, ...)" for w in (stack.reads[n], stack.gives[n])
        )
        if n == 0 and stack.reads[0] is None:
            reads = f"({order})" if isinstance(layer, nn.Embedding) else reads
        count = _count(layer) + (_count(stack.gates[str(n)]) if str(n) in stack.gates else 0)
        if stack.skip == "dense":
            link = f"dense 0-{n - 1}" if n > 1 else ("dense 0" if n else "")
        else:
            link = (stack.skip or "") if stack.linked[n] else ""
        rows.append((str(n), _describe(layer), reads, gives, link, f"{count:,}"))
    keep = [c for c in range(6) if any(row[c] for row in rows[1:])]
    widths = [max(len(row[c]) for row in rows) for c in range(6)]
    lines = [
        "  " + "  ".join(row[c].rjust(widths[c]) if c in (0, 5) else row[c].ljust(widths[c]) for c in keep)
        for row in rows
    ]
    dropout = stack.dropout.p
    kind = "variational dropout" if type(stack.dropout).__name__ == "VariationalDropout" else "dropout"
    options = [f"skip={stack.skip!r}"] if stack.skip else []
    options += [f"{kind} {dropout} between layers"] if dropout else []
    options += ["batch_first=True"] if stack.batch_first else []
    head = f"Stack of {len(stack.layers)} layers, {_count(stack):,} parameters"
    return "\n".join([", ".join([head, *options]), *(line.rstrip() for line in lines)])


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _describe(layer: nn.Module) -> str:
    """A layer in one line; a cell rather than the `Recurrent` around it."""
    from .recurrent import Recurrent

    if isinstance(layer, Recurrent):
        flags = ", ".join(f for f in ("bidirectional", "reverse") if getattr(layer, f))
        return _describe(layer.cell) + (f", {flags}" if flags else "")
    if len(text := repr(layer).split("\n")) == 1 and len(text[0]) < 100:
        return text[0]
    inside = layer.extra_repr() or ", ".join(_describe(child) for child in _held(layer))
    return f"{type(layer).__name__}({inside})"


def _held(layer: nn.Module) -> list[nn.Module]:
    """The modules a container is made of."""
    from .stack import Stack

    return list(layer.layers if isinstance(layer, Stack) else layer.children())
