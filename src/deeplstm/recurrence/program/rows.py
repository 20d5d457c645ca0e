"""From the operators that torch traced to the nodes of a program.

A traced tensor with a batch dimension becomes *rows*: of its other dimensions one is the *lane* (what a vector instruction
runs along), the rest are *parts*, a node each: three gates in a (B, 3, H) view are three nodes. Along the lane a tensor may be
in *pieces* too: where (B, 4 H) is chunked into gates, the four gates are nodes of their own from the product on. Where a
tensor must be cut is known only once something slices it; then the cut is noted and lowering starts again.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import torch
from torch import fx
from torch.utils._pytree import tree_map

from . import free
from .graph import Graph, Node
from .operators import ATEN, TABLE, aten

Piece = Node | float
VIEWS = frozenset(
    (
        aten.slice.Tensor,
        aten.select.int,
        aten.view.default,
        aten.expand.default,
        aten.permute.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.as_strided.default,
    )
)
"""What leaves a tensor of equal numbers one."""
ASSIGNMENTS = frozenset(
    (aten.slice_scatter.default, aten.select_scatter.default, aten.as_strided_scatter.default, aten.copy.default)
)
MOST_NUMBERS = 4096
"""A larger constant would make a program's text long."""


class Unsupported(Exception):
    """An operator, or a use of one, that programs do not have."""

    def __init__(self, what: str, where: str | None = None) -> None:
        super().__init__(what)
        self.what, self.where = what, where

    def __str__(self) -> str:
        return f"{self.what} at {self.where}" if self.where else self.what


class _Again(Exception):
    """A cut was noted; start again."""


@dataclass(frozen=True)
class Rows:
    """A traced tensor with a batch dimension.

    Attributes:
        shape: as traced.
        batch, lane: which dimensions these are; no lane where every other dimension counts parts.
        parts: index along the remaining dimensions -> pieces along the lane, (node or number, width) each.
        origin: the traced operator that gave it, where cuts are noted.
    """

    shape: tuple[int, ...]
    batch: int
    lane: int | None
    parts: dict[tuple[int, ...], list[tuple[Piece, int]]]
    origin: fx.Node

    @property
    def others(self) -> list[int]:
        """The dimensions that count parts."""
        return [d for d in range(len(self.shape)) if d not in (self.batch, self.lane)]

    @property
    def width(self) -> int:
        return 1 if self.lane is None else self.shape[self.lane]


class Handlers(NamedTuple):
    """How operators that are not elementwise are lowered; see `lower.py`.

    Attributes:
        with_rows: called with the lowering, the traced operator and its arguments, some of which are `Rows`.
        constants: give the number that a constant tensor is full of.
        identities: give their first argument.
    """

    with_rows: dict[Any, Callable[..., Any]]
    constants: dict[Any, Callable[..., float]]
    identities: frozenset[Any]


class Lowering:
    """One traced graph on its way into a `Graph`; ``values`` holds what each traced operator became."""

    def __init__(self, graph: Graph, batch: int, handlers: Handlers) -> None:
        self.graph, self.batch, self.handlers = graph, batch, handlers
        self.cuts: dict[fx.Node, set[int]] = defaultdict(set)
        self.values: dict[fx.Node, Any] = {}

    def run(self, traced: fx.Graph, constants: Mapping[str, torch.Tensor], inputs: Sequence[Any]) -> Any:
        """Lower a graph whose placeholders are ``inputs`` (nodes, in order); returns its outputs, lowered."""
        for _ in range(1000):
            try:
                return self._run(traced, constants, inputs)
            except _Again:
                continue
        raise Unsupported("a tensor cut in ever more pieces")

    def _run(self, traced: fx.Graph, constants: Mapping[str, torch.Tensor], inputs: Sequence[Node]) -> Any:
        self.values = {}
        self.dtype = next(n.meta["val"].dtype for n in traced.nodes if n.op == "placeholder")
        given = iter(inputs)
        for node in traced.nodes:
            if node.op == "placeholder":
                self.values[node] = self._leaf(node, next(given))
            elif node.op == "get_attr":
                self.values[node] = self._number_or(constants[str(node.target)])
            elif node.op == "output":
                return fx.map_arg(node.args[0], self.values.__getitem__)
            else:
                self.values[node] = self._lower(node)
        raise AssertionError("a traced graph has an output")

    def _lower(self, node: fx.Node) -> Any:
        args = fx.map_arg(node.args, self.values.__getitem__)
        kwargs = fx.map_arg(node.kwargs, self.values.__getitem__)
        try:
            kinds = {type(a) for a in _flat((args, kwargs))}
            if torch.Tensor in kinds and (Rows in kinds or Node in kinds):
                args, kwargs = tree_map(
                    lambda a: self._constant(a, node) if isinstance(a, torch.Tensor) else a, (args, kwargs)
                )
            if Rows not in kinds:
                return self._without_rows(node, args, kwargs)
            self._check_others(node)
            if node.target in ATEN:
                return self._elementwise(ATEN[node.target], node, args, kwargs)
            handler = self.handlers.with_rows.get(node.target)
            if handler is None:
                raise Unsupported(f"the operator {node.target}")
            return handler(self, node, *args, **kwargs)
        except Unsupported as reason:
            reason.where = reason.where or _where(node)
            raise
        except _Again:
            raise
        except Exception as error:  # an argument that no rule here thought of: the cell still runs, in the reference
            raise Unsupported(f"this use of the operator {node.target} ({error})", _where(node)) from error

    # ---------------------------------------------------------------- leaves, and what has no rows

    def _leaf(self, node: fx.Node, leaf: Node) -> Any:
        if leaf.kind != "rows":
            return leaf
        shape = tuple(node.meta["val"].shape)
        pieces: list[tuple[Piece, int]] = [
            (self.columns(leaf, start, end), end - start) for start, end in self.spans(node, leaf.width)
        ]
        return Rows(shape, 0, 1, {(): pieces}, node)

    def _without_rows(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target = node.target
        if target in self.handlers.constants:
            return self.handlers.constants[target](*args, **kwargs)
        if not isinstance(target, torch._ops.OpOverload):  # getitem of a tuple
            return args[0][args[1]]
        nodes = [a for a in _flat((args, kwargs)) if isinstance(a, Node)]
        if target in self.handlers.identities:
            return args[0]
        value = node.meta["val"]
        if self.batch in getattr(value, "shape", ()) and target in ASSIGNMENTS:
            return self.handlers.with_rows[target](self, node, *args, **kwargs)
        if not nodes:
            return self._evaluated(node, args, kwargs)
        if self.batch in getattr(value, "shape", ()):
            if target is aten.expand.default:  # a broadcast is one anyway
                return args[0]
            raise Unsupported(f"{target} of weights alone that makes a batch")
        if not free.is_padding(target, args):
            args, kwargs = self._with_tensors(node, args, kwargs)
        kwargs = {key: free.REAL if given == self.dtype else given for key, given in kwargs.items()}
        return free.call(self.graph, target, args, kwargs, value)

    def _evaluated(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What an operator makes of constants; a number may stand for a tensor full of it."""
        target: Any = node.target
        if torch.Tag.nondeterministic_seeded in target.tags:
            raise Unsupported("random numbers that the step draws itself: give them as an input, or draw them before")
        if target in VIEWS and not isinstance(args[0], torch.Tensor):
            return args[0]
        if target in ATEN:
            result = target(*_as_tensors(target, args), **kwargs)
            return result.item() if result.numel() == 1 else result.expand(node.meta["val"].shape)

        def whole(given: fx.Node) -> Any:
            value, like = self.values[given], given.meta["val"]
            if not isinstance(value, bool | int | float) or not isinstance(like, torch.Tensor):
                return value
            if self.batch in like.shape:
                raise Unsupported(f"{target} of a constant with a batch")
            return torch.full(like.shape, value, dtype=like.dtype)

        args, kwargs = fx.map_arg((node.args, node.kwargs), whole)
        return self._number_or(target(*args, **kwargs))

    def _with_tensors(self, node: fx.Node, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments of an operator on weights, with whole tensors where a number stands for one and its shape counts."""
        shapes = [a.shape for a in _flat((args, kwargs)) if isinstance(a, Node)]
        if node.target in ATEN and numpy.broadcast_shapes(*shapes) == tuple(node.meta["val"].shape):
            return args, kwargs

        def whole(given: fx.Node) -> Any:
            value, like = self.values[given], given.meta["val"]
            if not isinstance(value, bool | int | float) or not like.shape:
                return value
            if like.dtype not in (torch.bool, self.dtype):
                raise Unsupported(f"a constant of {like.dtype} among weights")
            is_bool = like.dtype == torch.bool
            number = self.graph.node("constant", (), [float(value)], kind="free", shape=(), is_bool=is_bool)
            return free.call(self.graph, aten.expand.default, (number, tuple(like.shape)), {}, like)

        spelled: tuple[Any, Any] = fx.map_arg((node.args, node.kwargs), whole)
        return tuple(a if isinstance(a, torch.Tensor) else b for a, b in zip(args, spelled[0], strict=True)), spelled[1]

    def _check_others(self, node: fx.Node) -> None:
        """What meets rows has their dtype: kernels read weights, and what torch makes of them, as numbers of that. And it is
        there before the rows are: a sum over them is not, and would mix them.
        """
        for given in node.all_input_nodes:
            value, dtype = self.values[given], getattr(given.meta.get("val"), "dtype", None)
            if not isinstance(value, Node):
                continue
            if value.kind == "sum":
                raise Unsupported("a sum over the batch")
            if dtype not in (torch.bool, self.dtype):
                raise Unsupported(f"weights as {dtype} among {self.dtype}")

    @staticmethod
    def _number_or(value: Any) -> Any:
        return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value

    def _constant(self, value: torch.Tensor, node: fx.Node) -> Node:
        """A tensor that the cell's code brings along, as a free node that holds its numbers."""
        if self.batch in value.shape or value.numel() > MOST_NUMBERS:
            raise Unsupported(
                f"a constant of shape {tuple(value.shape)}: up to {MOST_NUMBERS} numbers are part of a program, "
                "a larger one is registered as a buffer"
            )
        is_bool = value.dtype == torch.bool
        is_index = not (is_bool or value.dtype.is_floating_point or node.target in ATEN)
        if is_index or (not is_bool and torch.promote_types(value.dtype, self.dtype) != self.dtype):
            raise Unsupported(f"a constant of {value.dtype} among {self.dtype}")
        numbers = value.double().flatten().tolist()
        return self.graph.node("constant", (), numbers, kind="free", shape=value.shape, is_bool=is_bool)

    # ---------------------------------------------------------------- cutting

    def spans(self, node: fx.Node, width: int) -> list[tuple[int, int]]:
        """The pieces of a lane by the cuts noted at a traced operator."""
        edges = [0, *sorted(c for c in self.cuts[node] if 0 < c < width), width]
        return list(itertools.pairwise(edges))

    def require(self, rows: Rows, edges: set[int]) -> None:
        """See to it that the pieces of rows end at the edges; where they do not, note it and start again."""
        for pieces in rows.parts.values():
            missing = edges - _edges(pieces) - {0, rows.width}
            if missing:
                self.cuts[rows.origin] |= missing
                raise _Again

    def columns(self, leaf: Node, start: int, end: int) -> Node:
        """Columns of a leaf."""
        if (start, end) == (0, leaf.width):
            return leaf
        if leaf.op == "slice":
            return self.columns(leaf.args[0], leaf.attrs[0] + start, leaf.attrs[0] + end)
        return self.graph.node("slice", [leaf], [start], shape=[end - start], is_bool=leaf.is_bool)

    # ---------------------------------------------------------------- making nodes

    def op(self, name: str, *args: Piece) -> Piece:
        """An elementwise operator on nodes and numbers of one lane's piece."""
        simple = _simplified(name, args)
        if simple is not None:
            return simple
        gives_bool = TABLE[name].gives_bool
        if any(_is_mask(a) for a in args) or name in ("where", "and", "or", "not"):
            name, args, done = self._with_masks(name, args)
            if done is not None:
                return done
            gives_bool = TABLE[name].gives_bool
        nodes = [a for a in args if isinstance(a, Node)]
        if not nodes:
            result = TABLE[name].run(
                *(torch.tensor(float(a), dtype=torch.float64) for a in args if not isinstance(a, Node))
            )
            return bool(result) if gives_bool else float(result)
        width = max(n.shape[0] if n.shape else 1 for n in nodes)
        if name == "where":
            gives_bool = all(isinstance(a, Node) and a.is_bool for a in args)
        if all(n.kind != "rows" for n in nodes):
            if len(nodes) == len(args):
                raise Unsupported("an operator on weights, made in a loop")
            # a number of every row: the gradient of columns that were assigned over is 0 times a weight
            args = tuple(a if isinstance(a, Node) else self._filled(a, width) for a in args)
        return self.graph.node(name, args, shape=[width], is_bool=gives_bool)

    def _with_masks(self, name: str, args: tuple[Piece, ...]) -> tuple[str, tuple[Piece, ...], Piece | None]:
        """An operator with masks among its arguments, by torch's rules: as one that kernels have, or what it comes to."""
        if name in _OF_TWO_MASKS and all(map(_is_mask, args)):
            name = _OF_TWO_MASKS[name]
        if name in ("and", "or", "not"):
            args = tuple(a if _is_mask(a) else self.op("ne", a, 0.0) if isinstance(a, Node) else bool(a) for a in args)
            for a, b in (args, args[::-1]) if len(args) == 2 else ():
                if isinstance(b, bool):
                    return name, args, a if b == (name == "and") else b
        elif name == "where":
            chosen, a, b = args
            if not _is_mask(chosen):
                chosen = self.op("ne", chosen, 0.0)
            if not (_is_mask(a) and _is_mask(b)):
                a, b = (self.op("real", v) if _is_mask(v) else v for v in (a, b))
            elif isinstance(a, bool):
                return name, args, self.op("or" if a else "and", chosen if a else self.op("not", chosen), b)
            elif isinstance(b, bool):
                return name, args, self.op("or" if b else "and", self.op("not", chosen) if b else chosen, a)
            args = (chosen, a, b)
        elif name == "real":
            (mask,) = args
            if isinstance(mask, Node) and mask.kind != "rows":
                one = self.graph.node("constant", (), [1.0], kind="free", shape=())
                value = torch.empty(mask.shape, device="meta")
                return name, args, free.call(self.graph, aten.mul.Tensor, (mask, one), {}, value)
        else:
            args = tuple(self.op("real", a) if _is_mask(a) else a for a in args)
        return name, args, None

    def joined(self, pieces: Sequence[tuple[Piece, int]]) -> Node:
        """Pieces side by side as one node: the leaf they are columns of, or a "cat"."""
        merged: list[Node] = []
        for piece, width in pieces:
            node = self._filled(piece, width)
            last = merged[-1] if merged else None
            if last is not None and node.is_leaf and last.is_leaf:
                (a, start), (b, start_b) = _base(last), _base(node)
                if a is b and start_b == start + last.width:
                    merged[-1] = self.columns(a, start, start_b + node.width)
                    continue
            merged.append(node)
        if len(merged) == 1:
            return merged[0]
        return self.graph.node("cat", merged, shape=[sum(n.width for n in merged)])

    def _filled(self, piece: Piece, width: int) -> Node:
        if isinstance(piece, Node) and piece.kind == "rows" and piece.width == width:
            return piece
        if _is_mask(piece):
            raise Unsupported("one mask a row, repeated over columns")
        return self.graph.node("fill", [piece], shape=[width])

    def _elementwise(self, name: str, node: fx.Node, args: Any, kwargs: Any) -> Rows:
        alpha = kwargs.get("alpha", 1)
        if alpha != 1:
            args = (args[0], self.apply("mul", node, [args[1], alpha]))
        return self.apply(name, node, list(args))

    def apply(self, name: str | Callable[..., Piece], node: fx.Node, args: Sequence[Any]) -> Rows:
        """An elementwise operator on rows, free tensors and numbers, by torch's rules of broadcasting."""
        shapes = [a.shape for a in args if isinstance(a, Rows | Node)]
        shape = tuple(numpy.broadcast_shapes(*shapes))
        ranks = len(shape)
        rows = [a for a in args if isinstance(a, Rows)]
        batches = {a.batch + ranks - len(a.shape) for a in rows}
        lanes = {a.lane + ranks - len(a.shape) for a in rows if a.lane is not None and a.width > 1}
        if not lanes:  # numbers of rows meet a vector of weights
            lanes = set([d for d in range(ranks) if d not in batches and shape[d] > 1][-1:])
        if not lanes and all(a.lane is not None for a in rows):
            lanes = {a.lane + ranks - len(a.shape) for a in rows if a.lane is not None}
        if len(batches) != 1 or len(lanes) > 1:
            raise Unsupported("tensors whose dimensions stand in different orders")
        (batch,) = batches
        lane = next(iter(lanes), None)
        width = 1 if lane is None else shape[lane]
        edges: set[int] = set(self.cuts[node])
        for a in rows:
            if a.width == width and width > 1:
                for pieces in a.parts.values():
                    edges |= _edges(pieces)
        edges = {e for e in edges if 0 < e < width}
        for a in rows:
            if a.width == width and width > 1:
                self.require(a, edges)
        spans = list(itertools.pairwise([0, *sorted(edges), width]))
        others = [d for d in range(ranks) if d not in (batch, lane)]
        function = name if callable(name) else lambda *values: self.op(name, *values)
        parts = {}
        for index in itertools.product(*(range(shape[d]) for d in others)):
            at = dict(zip(others, index, strict=True))
            columns = [list(self._pieces(a, ranks, batch, lane, at, spans)) for a in args]
            parts[index] = [
                (function(*values), end - start) for (start, end), *values in zip(spans, *columns, strict=True)
            ]
        return Rows(shape, batch, lane, parts, node)

    def _pieces(
        self, a: Any, ranks: int, batch: int, lane: int | None, at: dict[int, int], spans: list[tuple[int, int]]
    ) -> Iterator[Piece]:
        """One argument's pieces at one index of the parts."""
        if isinstance(a, Rows):
            shift = ranks - len(a.shape)
            index = tuple(0 if a.shape[d] == 1 else at[d + shift] for d in a.others if d + shift != lane)
            if any(d + shift == lane for d in a.others):  # a dimension of one part stands for the lane
                index = tuple(0 if a.shape[d] == 1 or d + shift == lane else at[d + shift] for d in a.others)
            pieces = a.parts[index]
            if a.lane is None or a.lane + shift != lane or a.width == 1:
                if a.width != 1 or len(pieces) != 1:
                    raise Unsupported("tensors whose dimensions stand in different orders")
                yield from (pieces[0][0] for _ in spans)
            else:
                yield from (piece for piece, _ in pieces)
        elif isinstance(a, Node):
            shift = ranks - len(a.shape)
            if batch >= shift and a.shape[batch - shift] != 1:
                raise Unsupported("a weight with one value for each row")
            value = a
            for d in reversed(range(len(a.shape))):
                if d + shift == lane and a.shape[d] > 1:
                    continue
                value = free.select(self.graph, value, d, 0 if a.shape[d] == 1 else at[d + shift])
            value = free.in_a_row(self.graph, value)
            yield from (
                free.columns(self.graph, value, 0, start, end) if value.shape else value for start, end in spans
            )
        else:
            yield from (a for _ in spans)

    def product(self, pieces: list[tuple[Piece, int]], weight: Node, node: fx.Node) -> list[tuple[Piece, int]]:
        """Rows (K) times a free (K, n), in the pieces that were asked for."""
        groups: list[list[tuple[Piece, int]]] = []
        for piece in pieces:
            if groups and self._go_together(groups[-1][-1][0], piece[0]):
                groups[-1].append(piece)
            else:
                groups.append([piece])
        result = []
        for start, end in self.spans(node, weight.shape[1]):
            total: Piece = 0.0
            at = 0
            for group in groups:
                size = sum(width for _, width in group)
                block = free.columns(self.graph, free.columns(self.graph, weight, 0, at, at + size), 1, start, end)
                at += size
                if all(not isinstance(piece, Node) and piece == 0 for piece, _ in group):
                    continue
                linear = self.graph.node("linear", [self.joined(group), block], shape=[end - start])
                total = self.op("add", total, linear)
            result.append((total, end - start))
        return result

    def _go_together(self, a: Piece, b: Piece) -> bool:
        """Whether one product reads both: leaves are multiplied where they lie, what is computed is put side by side."""
        if isinstance(a, Node) and isinstance(b, Node) and not a.is_leaf and not b.is_leaf:
            return True
        return self._adjacent(a, b)

    @staticmethod
    def _adjacent(a: Piece, b: Piece) -> bool:
        if not (isinstance(a, Node) and isinstance(b, Node) and a.is_leaf and b.is_leaf):
            return False
        (base_a, start_a), (base_b, start_b) = _base(a), _base(b)
        return base_a is base_b and start_b == start_a + a.width

    def reduce(self, pieces: Sequence[tuple[Piece, int]], name: str) -> Piece:
        """The sum or the largest of all columns. Pieces of one width are combined column by column first: to go across the
        columns of a row, which no other row waits for, takes as long as many vectors.
        """
        combine = {"sum": "add", "amax": "maximum", "amin": "minimum"}[name]
        numbers: list[Piece] = []
        wide: dict[int, Piece] = {}
        for piece, width in pieces:
            if width == 1:
                numbers.append(piece)
            elif not isinstance(piece, Node) or piece.kind != "rows" or piece.width != width:
                numbers.append(self.op("mul", piece, float(width)) if name == "sum" else piece)
            else:
                wide[width] = self.op(combine, wide[width], piece) if width in wide else piece
        numbers += [self.graph.node(name, [piece], shape=[1]) for piece in wide.values()]
        return functools.reduce(lambda a, b: self.op(combine, a, b), numbers)


def _simplified(name: str, args: Sequence[Piece]) -> Piece | None:
    """What an operator gives without doing anything; None where it does."""
    if name == "add":
        for a, b in (args, args[::-1]):
            if _is(b, 0):
                return a
    if name in ("sub", "div") and _is(args[1], 0 if name == "sub" else 1):
        return args[0]
    if name == "mul":
        for a, b in (args, args[::-1]):
            if _is(b, 1) and not (isinstance(a, Node) and a.is_bool):
                return a
    if name == "where" and not isinstance(args[0], Node):
        return args[1] if args[0] else args[2]
    if name == "real" and not (isinstance(args[0], Node) and args[0].is_bool):
        return args[0] if isinstance(args[0], Node) else float(args[0])
    return None


_OF_TWO_MASKS = {"add": "or", "mul": "and", "maximum": "or", "minimum": "and"}


def _is_mask(value: Piece) -> bool:
    return value.is_bool if isinstance(value, Node) else isinstance(value, bool)


def _is(value: Piece, number: float) -> bool:
    return not isinstance(value, Node) and not isinstance(value, bool) and value == number


def _edges(pieces: Sequence[tuple[Piece, int]]) -> set[int]:
    return set(itertools.accumulate(width for _, width in pieces))


def _base(leaf: Node) -> tuple[Node, int]:
    return (leaf.args[0], leaf.attrs[0]) if leaf.op == "slice" else (leaf, 0)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _as_tensors(target: Any, args: Any) -> list[Any]:
    """Arguments of an operator, with numbers as tensors where it wants those."""
    wanted = [str(argument.type) for argument in target._schema.arguments]
    return [
        torch.tensor(a, dtype=torch.float64 if isinstance(a, float) else None)
        if isinstance(a, bool | int | float) and "Tensor" in kind
        else a
        for a, kind in zip(args, wanted, strict=False)
    ]


def _where(node: fx.Node) -> str | None:
    """The line of the user's code that called an operator."""
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    outside = [line for line in lines if "/torch/" not in line and "deeplstm/recurrence" not in line]
    return outside[-1].removeprefix("File ") if outside else None
