"""A loop's nodes as stages: what is computed together for a panel of columns and a block of rows.

A stage runs the products that end in it in registers, then the elementwise expressions on the same registers, then stores. A
product needs whole rows of its input, so it starts a new stage where that is computed in the loop; a reduction ends one. The
plain LSTM is one stage: its four products and all its elementwise operators have H columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .graph import Node, order
from .interpret import Product
from .operators import TABLE
from .split import REDUCTIONS, Split


@dataclass(frozen=True, eq=False)
class Buffer:
    """Rows in memory.

    Attributes:
        name: what it holds.
        width: numbers a row.
        steps: whether it has rows for every step; else one set of rows is used again and again.
        is_bool: bytes instead of numbers.
    """

    name: str
    width: int
    steps: bool
    is_bool: bool = False

    def __repr__(self) -> str:
        return self.name


class Place(NamedTuple):
    """Columns of a buffer, from ``column`` on."""

    buffer: Buffer
    column: int = 0


class Columns(NamedTuple):
    """Values that lie side by side in one buffer.

    Attributes:
        name, width: of the buffer.
        nodes: each with its first column.
    """

    name: str
    width: int
    nodes: tuple[tuple[Node, int], ...]


@dataclass(eq=False)
class Stage:
    """What is computed together; every value has ``width`` columns, or one.

    Attributes:
        groups: the linears that end here, by the rows they read.
        stores: values and where they go.
        totals: values that are added to what lies at a place.
        reductions: nodes that are one number a row, and where it goes.
    """

    level: int
    width: int
    is_second_pass: bool = False
    groups: dict[Node, list[Node]] = field(default_factory=dict)
    stores: list[tuple[Node, Place]] = field(default_factory=list)
    totals: list[tuple[Node, Place]] = field(default_factory=list)
    reductions: list[tuple[Node, Place]] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, int, bool]:
        """Tells a stage from others; they run in its order."""
        return self.level, self.width, self.is_second_pass


@dataclass(frozen=True)
class Loop:
    """A split's loop, ready for a backend to generate.

    Attributes:
        stages: in order.
        places: where a node is read from, by stages that do not compute it.
        homes: in which stage a node is computed; those that are in none are computed wherever they are used.
        carried, following: buffers that the carried values are read from and written to, in order.
        kept: where the values of all steps are found, for nodes of `Split.kept`.
        totals: where each "total" is added up, a row of the batch each.
        resets: where carried values are exchanged: for each of them, what it is read from before that and what it is
            exchanged for (forward), or where its gradient goes instead (backward); empty without resets.
        is_backward: whether it goes from the last step to the first, so that they are exchanged after a step, not before it.
    """

    split: Split
    stages: tuple[Stage, ...]
    places: dict[Node, Place]
    homes: dict[Node, Stage]
    carried: tuple[Buffer, ...]
    following: tuple[Buffer, ...]
    kept: dict[Node, Place]
    totals: dict[Node, Buffer]
    resets: tuple[tuple[Buffer, Buffer], ...]
    is_backward: bool
    buffers: tuple[Buffer, ...]

    @property
    def has_resets(self) -> bool:
        return bool(self.resets)

    def is_computed_in(self, node: Node, stage: Stage) -> bool:
        """Whether a stage computes a node, rather than read it from its place. Its own reductions are not asked for here."""
        home = self.homes.get(node)
        if home is None:  # what has no home is computed wherever it is used
            return node in self.inline
        return home is stage and node.op not in REDUCTIONS

    @cached_property
    def inline(self) -> frozenset[Node]:
        """Nodes that are computed again wherever they are used."""
        return frozenset(n for n in self.split.loop if n not in self.homes and n.op != "cat")

    def work_of(self, stage: Stage) -> tuple[list[Node], list[Node]]:
        """What a stage computes, arguments first, and what it reads: rows from their places and free nodes."""
        reduced = [n for n, _ in stage.reductions]
        roots = [n for n, _ in (*stage.stores, *stage.totals)]

        def is_read(node: Node) -> bool:
            return node not in reduced and (node.op == "linear" or not self.is_computed_in(node, stage))

        nodes = order([*roots, *reduced], is_read)
        computed = [n for n in nodes if n in reduced or self.is_computed_in(n, stage)]
        return computed, [n for n in nodes if n not in computed]

    def touched(self, stage: Stage) -> list[Place]:
        """Where a stage reads or writes rows."""
        read = [n for n in self.work_of(stage)[1] if n.kind != "free"]
        written = [place for _, place in (*stage.stores, *stage.totals, *stage.reductions)]
        return [*(self.places[n] for n in (*read, *stage.groups)), *written]


def side_by_side(places: dict[Node, Place], names: Callable[[Buffer], str] = lambda b: b.name) -> tuple[Columns, ...]:
    """Values by the buffer that they are columns of."""
    of: dict[Buffer, list[tuple[Node, int]]] = {}
    for node, place in places.items():
        of.setdefault(place.buffer, []).append((node, place.column))
    return tuple(Columns(names(b), b.width, tuple(nodes)) for b, nodes in of.items())


RESETS = Buffer("resets", 1, True, True)
"""Which rows are reset before a step."""


def stages(
    split: Split,
    before: Sequence[Product],
    *,
    is_backward: bool = False,
    resets: bool = False,
    wholes: Iterable[Columns] = (),
    kept_at: Iterable[Columns] = (),
    overwrites: bool = False,
) -> Loop:
    """Group a loop into stages and give every value that must be in memory a place.

    Args:
        split: the parts of a step.
        before: the products that are done for all steps before the loop.
        is_backward: of the backward, where there is room for two steps of what is carried; a forward keeps all of them.
        resets: whether carried values are exchanged.
        wholes: values from outside that lie side by side.
        kept_at: where values that are kept are to lie; the others have a buffer each.
        overwrites: whether what is kept may overwrite what comes before the loop, where that has been read.
    """
    products = [Columns(f"before{n}", p.width, p.columns) for n, p in enumerate(before)]
    return _Planner(split, [*wholes, *products], kept_at, is_backward, overwrites).plan(resets)


class _Planner:
    def __init__(
        self, split: Split, wholes: list[Columns], kept_at: Iterable[Columns], is_backward: bool, overwrites: bool
    ) -> None:
        self.split, self.is_backward, self.overwrites = split, is_backward, overwrites
        self.computed = set(split.loop)
        self.places: dict[Node, Place] = {}
        self.level: dict[Node, int] = {}
        self.buffers: dict[str, Buffer] = {}
        self.by_key: dict[tuple[int, int, bool], Stage] = {}
        self.homes: dict[Node, Stage] = {}
        self._inline: dict[Node, bool] = {}
        self._outside(wholes)
        self.kept_at = {
            node: Place(self.buffer(whole.name, whole.width, True, node.is_bool), column)
            for whole in kept_at
            for node, column in whole.nodes
        }

    def buffer(self, name: str, width: int, steps: bool, is_bool: bool = False) -> Buffer:
        if name not in self.buffers:
            self.buffers[name] = Buffer(name, width, steps, is_bool)
        return self.buffers[name]

    def _outside(self, wholes: list[Columns]) -> None:
        """Where what the loop reads from outside lies."""
        read = self.split.outside.union(self.split.before)
        for whole in wholes:
            for node, column in whole.nodes:
                if node in read:
                    self.places[node] = Place(self.buffer(whole.name, whole.width, True, node.is_bool), column)
        for node in sorted(read, key=lambda n: n.id):
            if node not in self.places:
                base, column = (node.args[0], node.attrs[0]) if node.op == "slice" else (node, 0)
                self.places[node] = Place(self.buffer(base.name, base.width, True, base.is_bool), column)

    # ---------------------------------------------------------------- levels

    def is_number(self, node: Node) -> bool:
        """Whether a node is one number a row, or a constant, computed again wherever it is used."""
        if node not in self.computed or node.op in ("linear", "cat", *REDUCTIONS):
            return False
        return node.width == 1 or node.op == "fill"

    def is_inline(self, node: Node) -> bool:
        """Whether a node is computed again wherever it is used, since that costs less than to keep it: a number, or what is
        cheap to have from one value that is kept.
        """
        if node not in self._inline:
            is_wide = node in self.computed and node.op in TABLE and not TABLE[node.op].is_costly
            self._inline[node] = self.is_number(node) or (is_wide and len(self._sources(node)) <= 1)
        return self._inline[node]

    def _sources(self, node: Node) -> set[Node]:
        """The whole rows that an elementwise node is made of."""
        wide = [n for n in node.inputs if n.kind == "rows" and n.width > 1]
        return {s for n in wide for s in (self._sources(n) if self.is_inline(n) else {n})}

    def _available(self, node: Node) -> int:
        """The first level that can use a node of another width."""
        if node not in self.computed:
            return 0
        return self.level[node] + (not self.is_number(node))

    def _readable(self, node: Node) -> int:
        """The first level that can read a whole row of a node in memory."""
        if node not in self.computed:
            return 0
        if node.op == "cat":
            return max(self._readable(n) for n in node.inputs)
        return self.level[node] + 1

    def _levels(self) -> None:
        for node in self.split.loop:
            if node.op == "cat":
                continue
            inputs = [n for n in node.inputs if n in self.computed]
            if node.op == "linear":
                self.level[node] = self._readable(node.args[0])
            elif node.op in REDUCTIONS:
                self.level[node] = max((self.level[n] for n in inputs), default=0)
            else:
                same = [n for n in inputs if n.width == node.width and n.op not in REDUCTIONS and not self.is_number(n)]
                others = [n for n in inputs if n not in same]
                if self.is_number(node):
                    same, others = [], inputs
                levels = [self.level[n] for n in same] + [self._available(n) for n in others]
                self.level[node] = max(levels, default=0)

    # ---------------------------------------------------------------- stages

    def stage(self, level: int, width: int, is_second_pass: bool = False) -> Stage:
        key = (level, width, is_second_pass)
        if key not in self.by_key:
            self.by_key[key] = Stage(*key)
        return self.by_key[key]

    def _homes(self) -> None:
        with_products = set()
        for node in self.split.loop:
            if node.op == "linear":
                stage = self.stage(self.level[node], node.width)
                stage.groups.setdefault(node.args[0], []).append(node)
                with_products.add((stage.level, stage.width))
        for node in self.split.loop:
            if node.op == "cat" or self.is_inline(node):
                continue
            if node.op in REDUCTIONS:
                key = (self.level[node], node.args[0].width)
                self.homes[node] = self.stage(*key, key in with_products)
            else:
                self.homes[node] = self.stage(self.level[node], node.width)

    def _stores(self) -> None:
        split = self.split
        following = tuple(self.buffer(f"next {n.name}", n.width, True) for n in split.carried)
        wanted: dict[Node, list[Place]] = {}
        for node, buffer in zip(split.following, following, strict=True):
            wanted.setdefault(node, []).append(Place(buffer))
        self.kept: dict[Node, Place] = {}
        for node in split.kept:
            if node in split.following and not self.is_backward:
                self.kept[node] = wanted[node][0]
            else:
                self.kept[node] = (
                    self.kept_at.get(node)
                    or self._overwritten(node)
                    or Place(self.buffer(f"kept {node.name}", node.width, True, node.is_bool))
                )
                wanted.setdefault(node, []).append(self.kept[node])
        for node in split.loop:
            if node.op == "cat":
                self._store_cat(node, wanted)
        for node in self._read_elsewhere():
            if node not in wanted:
                wanted[node] = [Place(self.buffer(node.name, node.width, False, node.is_bool))]
        for node, places in wanted.items():
            if node.op == "cat":
                continue
            self.places.setdefault(node, places[0])
            if node.op in REDUCTIONS and node in self.computed:
                self.homes[node].reductions += [(node, place) for place in places]
            else:
                self._storing(node).stores += [(node, place) for place in places]
        self.totals = {}
        for total in split.totals:
            source = total.args[0]
            self.totals[total] = self.buffer(f"total {source.name}", source.width, False)
            self._storing(source).totals.append((source, Place(self.totals[total])))
        self.following = following
        self.carried = tuple(self.buffer(n.name, n.width, True) for n in split.carried)

    def _overwritten(self, node: Node) -> Place | None:
        """Where something lies that no stage reads after the one that stores a node, and that one only where it stores the same
        columns.
        """
        if not self.overwrites or node.is_bool or self._is_stored_elsewhere(node):
            return None
        home = self._storing(node)
        for other in self.split.before:
            place = self.places[other]
            is_free = place not in self.kept.values() and not other.is_bool
            are_done = all(stage is not None and stage.key <= home.key for stage in self._readers[other])
            if is_free and other.width == node.width and are_done:
                return place
        return None

    @cached_property
    def _readers(self) -> dict[Node, set[Stage | None]]:
        """Which stages read what comes before the loop; None stands for what reads it otherwise."""
        readers: dict[Node, set[Stage | None]] = {n: set() for n in self.split.before}

        def read(node: Node, by: Stage | None) -> None:
            if node in readers:
                readers[node].add(by)
            elif self.is_inline(node):
                for n in node.inputs:
                    read(n, by)

        for node in self.split.loop:
            for n in node.inputs:
                if not self.is_inline(node):
                    read(n, self.homes.get(node) if node.op != "linear" else None)
        for node in (*self.split.kept, *self.split.following, *(total.args[0] for total in self.split.totals)):
            read(node, None if self._is_stored_elsewhere(node) else self._storing(node))
        return readers

    def _is_stored_elsewhere(self, node: Node) -> bool:
        """Whether a node is not stored column by column beside what it is made of."""
        return node not in self.computed or self.is_number(node) or node.op in (*REDUCTIONS, "cat")

    def _storing(self, node: Node) -> Stage:
        """The stage that stores a node: its own, or the first that can."""
        if node in self.homes and node.op not in REDUCTIONS:
            return self.homes[node]
        if self.is_number(node) or node not in self.computed or node.op in REDUCTIONS:
            return self.stage(self._available(node), node.width)
        return self.stage(self.level[node], node.width)

    def _store_cat(self, node: Node, wanted: dict[Node, list[Place]]) -> None:
        whole = wanted[node][0].buffer if node in wanted else self.buffer(node.name, node.width, False)
        self.places[node] = Place(whole)
        for other in wanted.get(node, [])[1:]:
            self._parts(node, other.buffer, wanted)
        self._parts(node, whole, wanted)

    @staticmethod
    def _parts(node: Node, whole: Buffer, wanted: dict[Node, list[Place]]) -> None:
        column = 0
        for part in node.args:
            wanted.setdefault(part, []).append(Place(whole, column))
            column += part.width

    def _read_elsewhere(self) -> list[Node]:
        """Nodes that must be in memory because what reads them is not computed beside them."""
        users: dict[Node, set[Stage | None]] = {}

        def read(node: Node, by: Stage | None) -> None:
            if self.is_inline(node):
                for n in node.inputs:
                    read(n, by)
            elif node in self.computed:
                users.setdefault(node, set()).add(by)

        for node in self.split.loop:
            if node.op == "cat" or self.is_inline(node):
                continue
            if node.op == "linear":  # whole rows, from memory
                source = node.args[0]
                if source in self.computed:
                    users.setdefault(source, set()).add(None)
                    if self.is_inline(source):
                        read(source, self._storing(source))
                continue
            for n in node.inputs:
                read(n, self.homes[node])
        for node in (*self.split.kept, *self.split.following, *(total.args[0] for total in self.split.totals)):
            if self.is_inline(node) or node.op in REDUCTIONS:
                read(node, self._storing(node))
        for part in (p for n in self.split.loop if n.op == "cat" for p in n.args):
            if self.is_inline(part):
                read(part, self._storing(part))
        return [
            n
            for n, stages in users.items()
            if n.op != "cat"
            and (n.op in REDUCTIONS or n not in self.homes or any(s is not self.homes[n] for s in stages))
        ]

    def _resets(self) -> tuple[tuple[Buffer, Buffer], ...]:
        self.buffers[RESETS.name] = RESETS
        return tuple(
            (self.buffer(f"past {n.name}", n.width, True), self.buffer(f"initial {n.name}", n.width, True))
            for n in self.split.carried
        )

    def plan(self, resets: bool) -> Loop:
        self._levels()
        self._homes()
        self._stores()
        ordered = tuple(self.by_key[key] for key in sorted(self.by_key))
        used = tuple(s for s in ordered if s.stores or s.totals or s.reductions)
        return Loop(
            self.split,
            used,
            self.places,
            self.homes,
            self.carried,
            self.following,
            self.kept,
            self.totals,
            self._resets() if resets else (),
            self.is_backward,
            tuple(self.buffers.values()),
        )
