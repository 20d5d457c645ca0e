"""The two directions of a cell: loops that are compiled, and what comes before and after each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from ...program.capture import Step
from ...program.graph import Node, order
from ...program.interpret import products, straight_line
from ...program.program import backward, forward
from ...program.rows import Unsupported
from ...program.stages import Buffer, Columns, Place, side_by_side
from .compiled import CompiledLoop, Sources, needed
from .flat import Flat
from .llvm.elements import Element
from .outer import outer, total


@dataclass(frozen=True)
class Wanted:
    """What a call wants beside y and the final state.

    Attributes:
        gradient: whether there will be a backward. It always gives the gradients of the state.
        x: whether also that of x.
        weights: and of which weights.
        trace: names marked in the cell whose values of every step are wanted.
    """

    gradient: bool
    x: bool
    weights: frozenset[str]
    memory: str = "save"
    trace: tuple[str, ...] = ()
    resets: bool = False


class Forward:
    """The forward loop, what comes before it and what follows it.

    Attributes:
        loop: compiled.
        before: rows that the loop reads; None where there is nothing to compute for them.
        saved: nodes that the backward reads, beside inputs and states.
        kept: nodes that the loop keeps, and where.
        wholes: the buffers that hold saved nodes, by the names that the backward has for them.
        block: the same, by the names they have here, and their widths: they lie side by side.
        passing: what is needed until the call is over, likewise.
        loose: the other buffers that the loop writes.
        apart: the other saved nodes.
        after: gives y, traces and the nodes saved apart, but for those that ``direct`` has; None where it has all.
        direct: y, traces and the nodes saved apart, in order: the number of a state, a node that the loop or ``after`` keeps.
        needs: names of the rows that are read before and after the loop.
        sources: what kernels read of weights.
    """

    def __init__(self, step: Step, element: Element, wanted: Wanted) -> None:
        self.saved: tuple[Node, ...] = ()
        if wanted.gradient:
            self.saved = backward(step, wants_x=wanted.x, weights=wanted.weights, memory=wanted.memory).saved
        split = forward(step, trace=wanted.trace, saved=self.saved).split
        identity = _identity("forward", step, element, wanted)
        self.loop = CompiledLoop(
            split,
            element,
            before=products(step.graph, split.before),
            resets=wanted.resets,
            overwrites=bool(self.saved),
            identity=identity,
        )
        self.before = _before(self.loop, (), element, (), identity)
        places = self.loop.loop.kept
        self.kept = {n: place for n, place in places.items() if n not in step.new}
        saved = side_by_side({n: p for n, p in self.kept.items() if n in self.saved and not n.is_bool})
        self.wholes = tuple(whole._replace(name=f"saved{n}") for n, whole in enumerate(saved))
        self.block = [(whole.name, whole.width) for whole in saved]
        self.passing = [pair for pair in (self.before.block if self.before else ()) if pair not in self.block]
        done = {name for name, _ in (*self.block, *self.passing)}
        self.loose = list(dict.fromkeys(p.buffer for p in self.kept.values() if p.buffer.name not in done))
        together = {n for whole in self.wholes for n, _ in whole.nodes}
        self.apart = [n for n in self.saved if n not in together]
        results = [step.y, *(step.marks[name] for name in wanted.trace), *self.apart]
        self.direct: list[int | Node] = [step.new.index(n) if n in step.new else n for n in results]
        rest = [n for n in self.direct if isinstance(n, Node) and n not in self.kept]
        self.new = [n for n in dict.fromkeys(step.new) if not n.is_leaf]
        # what lies before the loop may be overwritten in it
        before = {n: self.loop.loop.places[n] for n in split.before}
        before = {n: p for n, p in before.items() if p not in places.values()}
        self.after = None
        if rest:
            available = {**self.kept, **before}
            wholes = side_by_side(available)
            self.after = Flat(
                rest,
                [*available, *self.new],
                element,
                wholes=wholes,
                identity=identity and f"after {identity}",
            )
        self.needs = _reads(self.before, self.after)
        self.sources = _sources(self, step, element)


class Backward:
    """The backward loop, what comes before it and what follows it.

    Attributes:
        loop, before: as of `Forward`.
        wholes, apart: of `Forward`.
        block: of `Forward.wholes`.
        passing: what is needed until the call is over: names and widths of what lies side by side.
        loose: the other buffers that the loop writes.
        totals: what the loop sums over all steps, by width.
        dx_has_its_own: whether dx lies in memory that nothing else has.
        after: rows that ``sums`` reads, and dx; None where the loop has them all.
        outers: sums over rows that a kernel computes, those with the same first factor together.
        known: what ``sums`` reads.
        rows: rows among those.
        places: where they and the factors of ``outers`` are found.
        sums: gives ``results``: dx where wanted, and the gradients of weights that are not zero.
        needs: names of the rows that are read before and after the loop.
        sources: what kernels read of weights.
    """

    def __init__(self, step: Step, element: Element, wanted: Wanted, forward: Forward) -> None:
        program = backward(step, wants_x=wanted.x, weights=wanted.weights, memory=wanted.memory)
        split = program.split
        identity = _identity("backward", step, element, wanted)
        self.wholes, self.apart = forward.wholes, forward.apart
        self.block = [(whole.name, whole.width) for whole in self.wholes]
        self.loop = CompiledLoop(
            split,
            element,
            before=products(step.graph, split.before),
            is_backward=True,
            resets=wanted.resets,
            wholes=self.wholes,
            identity=identity,
        )
        given = [*(n for n in dict.fromkeys(step.new) if not n.is_leaf), *program.saved]
        self.before = _before(self.loop, given, element, self.wholes, identity)
        self.totals: dict[int, list[Node]] = {}
        for node in self.loop.loop.totals:
            self.totals.setdefault(node.shape[0], []).append(node)
        kept = self.loop.loop.kept
        self.dx, self.dweights = program.dx, program.dweights
        self.results = [d for d in (program.dx, *program.dweights.values()) if d is not None]

        before = {n: self.loop.loop.places[n] for n in split.before}
        wholes = [*self.wholes, *side_by_side({**before, **kept})]
        given += [*before, *kept]
        late = set(split.after).difference(given)
        summed = [i for n in split.after if n.kind == "sum" for i in n.inputs]
        rest = [n for n in dict.fromkeys([*self.results, *summed]) if n in late and n.kind == "rows"]
        self.after = None
        if rest:
            self.after = Flat(rest, given, element, wholes=wholes, identity=identity and f"after {identity}")

        kept_rows = [place.buffer for place in kept.values()]
        self.loose = [b for b in kept_rows if b.is_bool]
        passing = [(b.name, b.width) for b in kept_rows if not b.is_bool]
        for part in (self.before, self.after):
            passing += part.block if part else []
        # dx leaves the call: where it is computed after the loop it has memory of its own
        after = {} if self.after is None else self.after.places
        alone = {place.buffer.name for node, place in after.items() if node is self.dx}
        self.dx_has_its_own = bool(alone)
        self.passing = [pair for pair in dict.fromkeys(passing) if pair[0] not in alone]

        leaves = [step.x, *step.noise.values(), step.dy, *step.dmarks.values(), *step.states]
        whole = {n: Place(Buffer(n.name, n.width, True, n.is_bool)) for n in (*leaves, *given)}
        columns = {n: Place(Buffer(w.name, w.width, True, n.is_bool), at) for w in wholes for n, at in w.nodes}
        places = {**whole, **columns, **(self.after.places if self.after else {})}
        self.outers = _outers(self.results, places)
        outers = [node for group in self.outers for node in group]
        self.known = needed(self.results, [*outers, *step.weights.values(), *places, *self.loop.loop.totals])
        self.rows = [n for n in self.known if n in places]
        factors = [factor for node in outers for factor in node.args]
        self.places = {n: places[n] for n in (*self.rows, *factors)}
        self.sums = straight_line(self.results, self.known, outer=outer, total=total, dtype=getattr(torch, element))
        self.needs = _reads(self.before, self.after) | {place.buffer.name for place in self.places.values()}
        self.sources = _sources(self, step, element)


def _before(
    loop: CompiledLoop,
    given: Collection[Node],
    element: Element,
    wholes: Sequence[Columns],
    identity: str,
) -> Flat | None:
    """What a loop reads that is computed for all steps before it, put where the loop reads it."""
    places = {n: loop.loop.places[n] for n in loop.loop.split.before}
    if not places:
        return None
    identity = identity and f"before {identity}"
    return Flat(list(places), given, element, wholes=wholes, kept_at=side_by_side(places), identity=identity)


def _sources(direction: Forward | Backward, step: Step, element: Element) -> Sources:
    flats = (flat.compiled for flat in (direction.before, direction.after) if flat is not None)
    return Sources([direction.loop, *flats], step.weights, element)


def _outers(roots: Sequence[Node], places: Collection[Node]) -> list[tuple[Node, ...]]:
    """Sums over rows whose factors are in memory, those with the same first factor together."""
    by_rows: dict[Node, list[Node]] = {}
    for node in order(roots, lambda n: n in places):
        if node.op == "outer" and all(factor in places and not factor.is_bool for factor in node.args):
            by_rows.setdefault(node.args[0], []).append(node)
    return [tuple(nodes) for nodes in by_rows.values()]


def _reads(*parts: Flat | None) -> frozenset[str]:
    return frozenset(name for part in parts if part is not None for name in part.reads)


def _identity(direction: str, step: Step, element: Element, wanted: Wanted) -> str:
    """Everything that a loop depends on; nothing where it holds what cannot be written."""
    options = {**vars(wanted), "weights": sorted(wanted.weights)}
    try:
        return f"{direction} {element} {options} {step.identity}"
    except Unsupported:
        return ""
