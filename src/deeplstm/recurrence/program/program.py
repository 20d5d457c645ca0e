"""A cell's program: its step, split, forward and backward, and what is kept between the two."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from .capture import Step
from .graph import Node, dependents, order
from .operators import TABLE
from .split import REDUCTIONS, Split, split


class Forward(NamedTuple):
    """The loop from the first step to the last.

    Attributes:
        step: the captured step.
        split: its parts.
        saved: rows that a backward needs of every step, beside inputs and states.
    """

    step: Step
    split: Split
    saved: tuple[Node, ...]


class Backward(NamedTuple):
    """The loop from the last step to the first; its carried state is the gradient of the state."""

    step: Step
    split: Split
    saved: tuple[Node, ...]
    dx: Node | None
    dstates: tuple[Node, ...]
    dweights: dict[str, Node | None]


def forward(step: Step, *, trace: Collection[str] = (), saved: Collection[Node] = ()) -> Forward:
    """The forward program. ``trace``: marked names whose values of every step are wanted."""
    results = [step.y, *(step.marks[name] for name in trace), *saved]
    return Forward(step, split(step.states, step.new, results), tuple(saved))


def backward(
    step: Step, *, wants_x: bool = True, weights: Collection[str] | None = None, memory: str = "save"
) -> Backward:
    """The backward program, for the gradients that are wanted: of x, of these weights (None: all), and of the state."""
    dx = step.dx if wants_x else None
    dweights = {n: d for n, d in step.dweights.items() if weights is None or n in weights}
    dstates = tuple(
        d if d is not None else step.graph.node("fill", [0.0], shape=[leaf.width])
        for d, leaf in zip(step.dstates, step.states, strict=True)
    )
    roots = [*dstates, *(d for d in (dx, *dweights.values()) if d is not None)]
    saved = _saved(step, roots) if memory == "save" else []
    available = {*saved, *(n for n in step.new if not n.is_leaf)}
    parts = split(step.dnew, dstates, roots[len(dstates) :], available)
    copies = _copies(step, [*parts.after, *roots[len(dstates) :]])
    if copies:
        swapped = _swapped(step, parts.after, copies)
        dx = None if dx is None else swapped.get(dx, dx)
        dweights = {name: None if d is None else swapped.get(d, d) for name, d in dweights.items()}
        roots = [*dstates, *(d for d in (dx, *dweights.values()) if d is not None)]
        parts = split(step.dnew, dstates, roots[len(dstates) :], available)
    read = {n for n in parts.outside if n in available}
    return Backward(step, parts, tuple(n for n in saved if n in read), dx, dstates, dweights)


def _copies(step: Step, after: list[Node]) -> dict[Node, Node]:
    """What is carried, as it is read after the loop, and a copy that the loop makes of it at every step.

    The loop itself has room for two steps of what it carries. A cell whose new state is a sum of products, with an output of
    its own, has gradients that are made of nothing else.
    """
    read = {n for node in after for n in (node, *node.inputs) if n.is_leaf}
    carried = [n for n in read if (n.args[0] if n.op == "slice" else n) in step.dnew]
    return {n: step.graph.node("mul", [n, 1.0], shape=n.shape) for n in sorted(carried, key=lambda n: n.id)}


def _swapped(step: Step, nodes: Collection[Node], copies: dict[Node, Node]) -> dict[Node, Node]:
    """Nodes (arguments first) as they are with the copies in the place of what they are copies of."""
    swapped = dict(copies)

    def new(value: Any) -> Any:
        return tuple(map(new, value)) if isinstance(value, tuple) else swapped.get(value, value)

    for n in nodes:
        swapped[n] = step.graph.node(n.op, new(n.args), n.attrs, kind=n.kind, shape=n.shape, is_bool=n.is_bool)
    return swapped


def _saved(step: Step, roots: list[Node]) -> list[Node]:
    """Which values of the forward step to keep for the backward one.

    What can be had from inputs and states by arithmetic, or by one costly operator, is computed again; of a sum of products
    the sum is kept, not its terms. What the forward program has before its loop lies in memory anyway, but its time is not
    over then: it counts as any other value.
    """
    nodes = order(roots, lambda n: n.kind == "free")
    moving = dependents(nodes, [step.dy, *step.dnew, *step.dmarks.values()])
    needed = dict.fromkeys(
        i for n in nodes if n in moving or n.kind == "sum" for i in n.inputs if i.kind == "rows" and i not in moving
    )
    free = {n for n in nodes if n.is_leaf} | set(step.new)
    saved: dict[Node, None] = {}

    def settle(node: Node) -> None:
        if node in free or node in saved or node.kind != "rows" or node.op == "fill":
            return
        if node.op == "linear" or node.op in REDUCTIONS:
            saved[node] = None
            return
        unknown = _unknown(node, free | saved.keys())
        if not unknown:
            return
        costly = node.op in TABLE and TABLE[node.op].is_costly
        if costly or len(unknown) > 1:
            saved[node] = None
        else:
            for n in node.inputs:
                settle(n)

    parts = [part for node in needed for part in (node.inputs if node.op == "cat" else [node])]
    for costly_first in (True, False):
        for node in parts:
            if not costly_first or (node.op in TABLE and TABLE[node.op].is_costly):
                settle(node)
    return list(saved)


def _unknown(node: Node, known: Collection[Node]) -> list[Node]:
    """What keeps a node from being computed again by elementwise operators alone: products, reductions, and what reads them."""
    is_stop = lambda n: n in known or n.kind != "rows" or n.op == "linear" or n.op in REDUCTIONS  # noqa: E731
    found = order(node.inputs, is_stop)
    return [n for n in found if n not in known and (n.op == "linear" or n.op in REDUCTIONS)]
