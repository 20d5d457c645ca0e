"""The values of a program: a graph whose equal nodes are one node.

Three kinds of value, told apart because they live at different places:

* *rows*: one value for each row of the batch at each time step, (width,) wide. What loops compute.
* *free*: the same for all rows and steps: weights, and what is computed from weights alone. Evaluated by torch, once.
* *sum*: summed over the rows of all steps: gradients of weights, and what is linear in them. Evaluated by torch, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Kind = Literal["rows", "free", "sum"]


@dataclass(frozen=True, eq=False)
class Node:
    """One value.

    Attributes:
        op: "input" and "weight" are leaves, named by ``attrs[0]``; "constant": free, its numbers in ``attrs``. Rows are
            computed by "linear" (rows (K), free (K, n) -> n), "slice" of a leaf (attrs: start), "cat", the reductions "sum" and
            "amax" (-> 1) and the elementwise operators of `operators.TABLE`. "outer" (rows (n), rows (m) -> (n, m)) and "total"
            (rows (n) -> (n,)) sum over rows. "aten": an operator of torch, ``attrs[0]``, on free or on sum values; "zip":
            several pieces side by side.
        args: nodes, numbers, or (of "aten") nested tuples of them.
        shape: without the batch: (width,) of rows, the whole shape of the others.
        is_bool: true for masks.
    """

    id: int
    op: str
    args: tuple[Any, ...]
    attrs: tuple[Any, ...]
    kind: Kind
    shape: tuple[int, ...]
    is_bool: bool = False

    @property
    def width(self) -> int:
        return self.shape[0]

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes among the arguments."""
        return tuple(_nodes_in(self.args))

    @property
    def is_leaf(self) -> bool:
        """Whether rows of it lie in memory before anything runs: an input, or columns of one."""
        return self.op == "input" or (self.op == "slice" and self.args[0].op == "input")

    @property
    def name(self) -> str:
        return str(self.attrs[0]) if self.op in ("input", "weight") else f"v{self.id}"

    def __repr__(self) -> str:
        return self.name


def _nodes_in(args: Iterable[Any]) -> Iterator[Node]:
    for arg in args:
        if isinstance(arg, Node):
            yield arg
        elif isinstance(arg, tuple | list):
            yield from _nodes_in(arg)


class Graph:
    """Makes nodes, and gives the same one for the same operator on the same arguments."""

    def __init__(self) -> None:
        self._made: dict[Any, Node] = {}

    def node(
        self,
        op: str,
        args: Iterable[Any] = (),
        attrs: Iterable[Any] = (),
        *,
        kind: Kind = "rows",
        shape: Iterable[int],
        is_bool: bool = False,
    ) -> Node:
        args, attrs, shape = _frozen(args), _frozen(attrs), tuple(shape)
        key = (op, _key(args), _key(attrs), shape)
        if key not in self._made:
            self._made[key] = Node(len(self._made), op, args, attrs, kind, shape, is_bool)
        return self._made[key]


def _frozen(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(_frozen(v) if isinstance(v, list | tuple) else v for v in values)


def _key(values: tuple[Any, ...]) -> Any:
    """Numbers by type too: 1 and 1.0 and True are the same to a dict, not to a program."""
    return tuple(_key(v) if isinstance(v, tuple) else v if isinstance(v, Node) else (type(v), v) for v in values)


def order(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda node: False) -> list[Node]:
    """Everything that the roots need, arguments first; nodes for which ``stop`` holds are taken, what they need is not."""
    done: dict[Node, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, is_ready = stack.pop()
        if node in done:
            continue
        if is_ready or stop(node):
            done[node] = None
            continue
        stack.append((node, True))
        stack += [(n, False) for n in reversed(node.inputs) if n not in done]
    return list(done)


def dependents(nodes: Iterable[Node], on: Iterable[Node]) -> set[Node]:
    """Those of the nodes (given arguments first) that depend on one of ``on``, these included."""
    found = set(on)
    for node in nodes:
        if any(n in found for n in node.inputs):
            found.add(node)
    return found
