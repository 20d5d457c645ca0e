"""What runs before the loop over time, in it, and after it. One function splits the forward and the backward step.

The backward step is one more recurrence, run in reverse: its carried state is the gradient of the state. Then nothing needs a
special case. Input projections fall before the forward loop, output layers after it; every weight gradient falls after the
backward loop, where one product sums over all steps by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .graph import Node, dependents, order

REDUCTIONS = ("sum", "amax", "amin")


class Split(NamedTuple):
    """A step, split.

    Attributes:
        carried, following: the leaves that are carried, and what each of them is at the next step.
        before: nodes needed for all steps before the loop starts: they do not depend on what is carried, and end in a product.
            What else there is, is cheaper to do in the loop, where it is at hand, than to keep.
        loop: what the loop computes, arguments first.
        kept: of the loop's nodes, those whose values of all steps are needed afterwards.
        totals: sums over rows that the loop adds up as it goes, "total" of one of its nodes each.
        after: what is computed from all steps at once when the loop is done.
        outside: leaves and nodes of other programs that this one reads.
    """

    carried: tuple[Node, ...]
    following: tuple[Node, ...]
    before: tuple[Node, ...]
    loop: tuple[Node, ...]
    kept: tuple[Node, ...]
    totals: tuple[Node, ...]
    after: tuple[Node, ...]
    outside: frozenset[Node]


def split(
    carried: Iterable[Node], following: Iterable[Node], results: Iterable[Node], available: Iterable[Node] = ()
) -> Split:
    """Split a step.

    Args:
        carried: the leaves that one step hands to the next.
        following: what it hands, in the same order.
        results: what is wanted of every step (rows), or of all steps (sums).
        available: nodes whose values of all steps are there already.
    """
    carried, following, results, given = tuple(carried), tuple(following), tuple(results), frozenset(available)

    def is_outside(node: Node) -> bool:
        return node.is_leaf or node in given or node.kind == "free"

    nodes = order([*following, *results], is_outside)
    rows = [n for n in nodes if n.kind == "rows"]
    moving = dependents(rows, {*carried, *(n for n in rows if n.op == "slice" and n.args[0] in carried)})
    core = moving.intersection(order(following, is_outside))

    heavy = [n for n in rows if n not in moving and not is_outside(n) and n.op == "linear"]
    settled = {n for n in order(heavy, is_outside) if n.kind == "rows" and not is_outside(n)}

    late: set[Node] = {n for n in nodes if n.kind == "sum"}
    for n in rows:
        if n in moving and n not in core and (n.op == "linear" or any(i in late for i in n.inputs)):
            late.add(n)
    wanted = [n for n in rows if n in moving and n not in late and not is_outside(n)]
    stop = lambda n: is_outside(n) or n in settled  # noqa: E731
    loop = [n for n in order([*following, *wanted], stop) if n.kind == "rows" and not stop(n)]
    in_loop = set(loop)
    totals = tuple(n for n in nodes if n.op == "total" and n.args[0] in in_loop)
    # what comes after is found from its results down to what the loop, or what was before it, has
    kept: dict[Node, None] = {}
    before: dict[Node, None] = {}
    after = []
    done = in_loop.union(totals)
    for n in order(results, lambda n: stop(n) or n in done):
        if n in settled:
            before[n] = None
        elif n in in_loop:
            kept[n] = None
        elif n not in done and not stop(n):
            after.append(n)
    for n in (*loop, *following):
        before.update((i, None) for i in (n, *n.inputs) if i in settled)
    outside = frozenset(n for n in nodes if is_outside(n) and n.kind == "rows")
    return Split(carried, following, tuple(before), tuple(loop), tuple(kept), totals, tuple(after), outside)


def at_once(results: Iterable[Node], available: Iterable[Node]) -> Split:
    """A split of values that wait for no step before them: all in the loop, nothing carried, so that its steps may be any rows.

    Args:
        results: rows that are wanted.
        available: nodes whose values are there already.
    """
    results, given = tuple(dict.fromkeys(results)), frozenset(available)

    def is_outside(node: Node) -> bool:
        return node.is_leaf or node in given or node.kind == "free"

    nodes = [n for n in order(results, is_outside) if n.kind == "rows"]
    loop = tuple(n for n in nodes if not is_outside(n))
    return Split((), (), (), loop, results, (), (), frozenset(n for n in nodes if is_outside(n)))
