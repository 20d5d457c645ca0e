"""Run nodes with torch, on all rows of all steps at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import free
from .graph import Graph, Node, order
from .operators import TABLE, aten


class Product(NamedTuple):
    """Several "linear" nodes that read the same rows, as one product.

    Attributes:
        whole: the linear that they are columns of; its arguments are rows (K,) and the weights side by side, free (K, n).
        columns: where each linear's columns start.
    """

    whole: Node
    columns: tuple[tuple[Node, int], ...]

    @property
    def width(self) -> int:
        return self.whole.width


def products(graph: Graph, nodes: Iterable[Node]) -> list[Product]:
    """The linears among nodes, merged."""
    by_input: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.op == "linear":
            by_input.setdefault(node.args[0], []).append(node)
    merged = []
    for rows, linears in by_input.items():
        linears.sort(
            key=lambda n: n.id
        )  # pieces were made from left to right, so that the whole weight comes out again
        weight = free.cat(graph, [n.args[1] for n in linears], 1)
        starts, at = [], 0
        for n in linears:
            starts.append((n, at))
            at += n.width
        whole = graph.node("linear", [rows, weight], shape=[at])
        merged.append(Product(whole, tuple(starts)))
    return merged


def outer(a: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """Sums over rows: a (N, n) and each b (N, m) -> (n, m)."""
    return [a.t() @ b for b in others]


def total(rows: Tensor) -> Tensor:
    """Sums over rows: (N, n) -> (n,)."""
    return rows.sum(0)


def straight_line(
    roots: Sequence[Node],
    known: Sequence[Node],
    merged: Iterable[Product] = (),
    outer: Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]] = outer,
    total: Callable[[Tensor], Tensor] = total,
    dtype: torch.dtype | None = None,
) -> Callable[..., tuple[Tensor, ...]]:
    """A function of the known nodes' tensors, in order, that gives the roots', in order.

    It is written out as Python and compiled once: what runs at every call is torch's operators and nothing else, but for
    ``outer``, which computes the "outer" nodes that have the same first argument, and ``total``. ``dtype``: of real numbers,
    where none of the known nodes may tell.

    Shapes: rows (N, width) with any N, the same for all; free and sum nodes as they say.
    """
    writer = _Writer(known, {n: product for product in merged for n, _ in product.columns}, _together(roots, known))
    writer.scope |= {"outer": outer, "total": total}
    if dtype is not None:
        writer.real = str(dtype)
    for root in roots:
        writer.need(root)
    results = "".join(f"{writer.names[root]}, " for root in roots)
    lines = [f"def evaluate({', '.join(writer.names[n] for n in known)}):", *writer.lines, f"return ({results})"]
    source = "\n    ".join(lines)
    exec(compile(source, "<before or after a loop>", "exec"), writer.scope)
    function: Callable[..., tuple[Tensor, ...]] = writer.scope["evaluate"]
    return function


def _together(roots: Sequence[Node], known: Sequence[Node]) -> dict[Node, tuple[Node, ...]]:
    """Of each "outer" node: those that read the same rows, itself included."""
    given = set(known)
    by_rows: dict[Node, list[Node]] = {}
    for node in order(roots, lambda n: n in given):
        if node.op == "outer" and node not in given:
            by_rows.setdefault(node.args[0], []).append(node)
    return {node: tuple(nodes) for nodes in by_rows.values() for node in nodes}


class _Writer:
    """Writes a line for each node."""

    def __init__(
        self, known: Sequence[Node], product_of: dict[Node, Product], together: dict[Node, tuple[Node, ...]]
    ) -> None:
        self.names = {node: f"v{node.id}" for node in known}
        self.like = next((self.names[n] for n in known if n.kind == "rows" and not n.is_bool), None)
        self.real = next((f"{self.names[n]}.dtype" for n in known if not n.is_bool), "torch.get_default_dtype()")
        self.product_of, self.together = product_of, together
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "torch": torch,
            "device": torch.device,
            "TABLE": TABLE,
            "inf": math.inf,
            "nan": math.nan,
        }

    def need(self, root: Node) -> None:
        for node in order([root], lambda n: n in self.names or n in self.product_of):
            if node in self.names:
                continue
            if node in self.together:
                self._write_outer(self.together[node])
                continue
            product = self.product_of.get(node)
            if product is None:
                self._write(node, self._expression(node))
                continue
            for needed in product.whole.args:
                self.need(needed)
            if product.whole not in self.names:
                self._write(product.whole, self._expression(product.whole))
            whole = self.names[product.whole]
            for n, at in product.columns:
                if n not in self.names:
                    self._write(n, f"{whole}[:, {at}:{at + n.width}]")

    def _write_outer(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.need(node.args[1])
        self.names |= {node: f"v{node.id}" for node in nodes}
        results = "".join(f"{self.names[node]}, " for node in nodes)
        others = ", ".join(self.names[node.args[1]] for node in nodes)
        self.lines.append(f"{results}= outer({self.names[nodes[0].args[0]]}, [{others}])")

    def _write(self, node: Node, expression: str) -> None:
        self.names[node] = f"v{node.id}"
        self.lines.append(f"v{node.id} = {expression}")

    def _expression(self, node: Node) -> str:
        op, args = node.op, [self._argument(a) for a in node.args]
        if op == "aten":
            target, kwargs, *which = node.attrs
            if target is aten.permute.default and node.args[1] == (1, 0):
                return f"{args[0]}.t()"
            name = f"aten_{len(self.scope)}"
            self.scope[name] = target
            for n, (value, argument) in enumerate(zip(node.args, target._schema.arguments, strict=False)):
                if isinstance(value, bool | int | float) and "Tensor" in str(argument.type):
                    args[n] = f"torch.tensor({value!r}{'' if isinstance(value, bool) else f', dtype={self.real}'})"
            if target is aten.view.default:
                return f"{args[0]}.view({args[1]})"
            if target is aten.cat.default:
                return f"torch.cat({', '.join(args)})"
            named = "".join(f", {key}={self.real if value == free.REAL else repr(value)}" for key, value in kwargs)
            return f"{name}({', '.join(args)}{named}){f'[{which[0]}]' if which else ''}"
        if op == "constant":
            name = f"constant_{len(self.scope)}"
            self.scope[name] = torch.tensor(node.attrs, dtype=torch.float64).view(node.shape)
            return f"{name}.to({'torch.bool' if node.is_bool else self.real})"
        if op == "linear":
            return f"torch.mm({args[0]}, {args[1]})"
        if op == "slice":
            return f"{args[0]}[:, {node.attrs[0]}:{node.attrs[0] + node.width}]"
        if op == "cat":
            return f"torch.cat([{', '.join(args)}], 1)"
        if op == "fill":
            return f"{self.like}.new_ones({self.like}.shape[0], {node.width}) * {args[0]}"
        if op == "total":
            return f"total({args[0]})"
        if op == "sum":
            return f"{args[0]}.sum(1, keepdim=True)"
        if op in ("amax", "amin"):
            return f"{args[0]}.{op}(1, keepdim=True)"
        if op == "real":
            return f"{args[0]}.to({self.like}.dtype)"
        if op in ("where", "maximum", "minimum"):  # these take tensors only
            args = [
                text if isinstance(a, Node) else f"{self.like}.new_full((), {text})"
                for a, text in zip(node.args, args, strict=True)
            ]
        return f"TABLE[{op!r}].run({', '.join(args)})"

    def _argument(self, value: Any) -> str:
        if isinstance(value, Node):
            return self.names[value]
        if isinstance(value, tuple):
            return f"({''.join(f'{self._argument(v)}, ' for v in value)})"
        return repr(value)
