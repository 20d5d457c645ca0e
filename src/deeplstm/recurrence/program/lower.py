"""How operators that are not elementwise are lowered: products, views, reductions, and what is made of others."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from . import free
from .graph import Graph, Node
from .operators import aten
from .rows import Handlers, Lowering, Piece, Rows, Unsupported

Pieces = list[tuple[Piece, int]]
Parts = dict[tuple[int, ...], Pieces]


def _as_lane(value: Any) -> Any:
    """Rows (B, n) that count parts of one column each, as a lane in pieces."""
    if isinstance(value, Rows) and value.lane is None and len(value.shape) == 2:
        (dim,) = value.others
        pieces = [p for n in range(value.shape[dim]) for p in value.parts[(n,)]]
        return Rows(value.shape, value.batch, dim, {(): pieces}, value.origin)
    return value


def _with_lane(value: Any, what: str) -> Rows:
    """Rows that are (B, n) or (n, B)."""
    value = _as_lane(value)
    if not isinstance(value, Rows) or value.lane is None or value.others:
        raise Unsupported(f"{what} of a tensor that is not (B, n)")
    return value


# ---------------------------------------------------------------- products


def _only(rows: Rows) -> Pieces:
    (pieces,) = rows.parts.values()
    return pieces


def mm(self: Lowering, node: fx.Node, a: Any, b: Any) -> Any:
    shape = tuple(node.meta["val"].shape)
    if isinstance(a, Rows) and isinstance(b, Rows):
        a, b = _with_lane(a, "a product"), _with_lane(b, "a product")
        if (a.batch, b.batch) != (1, 0):
            raise Unsupported("a product of two tensors with rows")
        return outer(self, a.parts[()], b.parts[()])
    rows = _with_lane(a if isinstance(a, Rows) else b, "a product")
    if isinstance(a, Rows) and a.batch == 0:
        return Rows(shape, 0, 1, {(): self.product(_only(rows), b, node)}, node)
    if isinstance(b, Rows) and b.batch == 1:
        return Rows(shape, 1, 0, {(): self.product(_only(rows), free.transposed(self.graph, a), node)}, node)
    raise Unsupported("a product along the batch")


def outer(self: Lowering, a: Pieces, b: Pieces) -> Node:
    """(n, B) times (B, m): the gradient of a weight, summed over rows."""
    left = self.joined(a)
    columns = []
    for piece, width in b:
        right = self._filled(piece, width)
        columns.append(self.graph.node("outer", [left, right], kind="sum", shape=[left.width, width]))
    # what follows in memory is one product
    merged: list[Node] = []
    for part in columns:
        if merged and self._adjacent(merged[-1].args[1], part.args[1]):
            right = self.joined([(merged[-1].args[1], merged[-1].shape[1]), (part.args[1], part.shape[1])])
            merged[-1] = self.graph.node("outer", [left, right], kind="sum", shape=[left.width, right.width])
        else:
            merged.append(part)
    return free.cat(self.graph, merged, 1)


def bmm(self: Lowering, node: fx.Node, a: Any, b: Any) -> Any:
    """A product for each part: heads with weights of their own."""
    shape = tuple(node.meta["val"].shape)
    if isinstance(a, Rows) and isinstance(b, Rows):
        if (a.batch, b.batch, a.lane, b.lane) != (2, 1, 1, 2):
            raise Unsupported("a product of two tensors with rows")
        heads = [outer(self, a.parts[(n,)], b.parts[(n,)]) for n in range(shape[0])]
        return free.cat(self.graph, [free.unsqueeze(self.graph, head) for head in heads], 0)
    rows = a if isinstance(a, Rows) else b
    if (rows.batch, rows.lane) != ((1, 2) if rows is a else (2, 1)):
        raise Unsupported("a product along the batch")
    parts: Parts = {}
    for n in range(shape[0]):
        weight = free.select(self.graph, b if rows is a else a, 0, n)
        if rows is b:
            weight = free.transposed(self.graph, weight)
        parts[(n,)] = self.product(rows.parts[(n,)], weight, node)
    return Rows(shape, rows.batch, rows.lane, parts, node)


def addmm(self: Lowering, node: fx.Node, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    product = mm(self, node, a, b)
    if not isinstance(product, Rows):
        raise Unsupported("addmm over the batch")
    if alpha != 1:
        product = self.apply("mul", node, [product, alpha])
    if beta != 1:
        raise Unsupported(f"addmm with beta={beta}")
    return self.apply("add", node, [product, bias])


def mv(self: Lowering, node: fx.Node, a: Any, vector: Any) -> Rows:
    rows = _with_lane(a, "a product")
    if rows.batch != 0 or not isinstance(vector, Node):
        raise Unsupported("a product with a vector along the batch")
    column = free.call(
        self.graph, aten.unsqueeze.default, (vector, 1), {}, torch.empty(*vector.shape, 1, device="meta")
    )
    return Rows(tuple(node.meta["val"].shape), 0, None, {(): self.product(_only(rows), column, node)}, node)


# ---------------------------------------------------------------- views


def identity(self: Lowering, node: fx.Node, value: Any, *_: Any, **__: Any) -> Any:
    return value


def copy(self: Lowering, node: fx.Node, into: Any, source: Any, *_: Any) -> Any:
    """What is assigned to a slice."""
    shape = tuple(node.meta["val"].shape)
    if isinstance(source, Rows) and source.shape != shape:
        return expand(self, node, source, shape)
    return source


def to_copy(self: Lowering, node: fx.Node, value: Rows, **kwargs: Any) -> Rows:
    dtype = kwargs.get("dtype")
    if dtype is not None and not (dtype.is_floating_point or dtype == torch.bool):
        raise Unsupported(f"a conversion to {dtype}")
    source = node.args[0].meta["val"].dtype  # type: ignore[union-attr]
    if dtype is not None and dtype.is_floating_point and source == torch.bool:
        return self.apply("real", node, [value])
    if dtype == torch.bool and source != torch.bool:
        return self.apply("ne", node, [value, 0.0])
    if dtype is not None and dtype != source:
        raise Unsupported(f"a conversion from {source} to {dtype}")
    return value


def permute(self: Lowering, node: fx.Node, value: Rows, dims: Sequence[int]) -> Rows:
    ranks = len(value.shape)
    dims = [d % ranks for d in dims]
    others = value.others
    new_others = [d for d in dims if d in others]
    parts = {tuple(index[others.index(d)] for d in new_others): p for index, p in value.parts.items()}
    lane = None if value.lane is None else dims.index(value.lane)
    return Rows(tuple(value.shape[d] for d in dims), dims.index(value.batch), lane, parts, value.origin)


def unsqueeze(self: Lowering, node: fx.Node, value: Rows, dim: int) -> Rows:
    dim %= len(value.shape) + 1
    shape = (*value.shape[:dim], 1, *value.shape[dim:])
    place = sum(1 for d in value.others if d < dim)
    parts = {(*index[:place], 0, *index[place:]): p for index, p in value.parts.items()}
    lane = None if value.lane is None else value.lane + (value.lane >= dim)
    return Rows(shape, value.batch + (value.batch >= dim), lane, parts, value.origin)


def squeeze(self: Lowering, node: fx.Node, value: Rows, dims: int | Sequence[int]) -> Rows:
    wanted = [dims] if isinstance(dims, int) else list(dims)
    for dim in sorted((d % len(value.shape) for d in wanted), reverse=True):
        if value.shape[dim] == 1:
            value = _without(value, dim)
    return value


def _without(value: Rows, dim: int) -> Rows:
    """Rows without a dimension of size one."""
    shape = (*value.shape[:dim], *value.shape[dim + 1 :])
    if dim == value.batch:
        raise Unsupported("a batch of one, squeezed")
    batch = value.batch - (value.batch > dim)
    if dim == value.lane:
        return Rows(shape, batch, None, value.parts, value.origin)
    place = value.others.index(dim)
    parts = {(*index[:place], *index[place + 1 :]): p for index, p in value.parts.items()}
    lane = None if value.lane is None else value.lane - (value.lane > dim)
    return Rows(shape, batch, lane, parts, value.origin)


def view(self: Lowering, node: fx.Node, value: Rows, size: Sequence[int]) -> Rows:
    """Insert and remove dimensions of one; split the lane into (parts, lane); join (parts, lane) into a lane."""
    shape = tuple(node.meta["val"].shape)
    if shape == value.shape:
        return value
    for dim in reversed(range(len(value.shape))):
        if value.shape[dim] == 1 and dim != value.lane:
            value = _without(value, dim)
    bare = tuple(s for s in shape if s != 1)
    if value.lane is not None and value.width == 1 and value.shape != bare:
        value = _without(value, value.lane)
    if value.shape != bare:
        value = _regrouped(self, value, bare)
    for dim, s in enumerate(shape):
        if s == 1:
            value = unsqueeze(self, node, value, dim)
    if value.shape != shape:
        raise Unsupported(f"a view of {value.shape} as {shape}")
    return value


def _regrouped(self: Lowering, value: Rows, shape: tuple[int, ...]) -> Rows:
    if value.batch != 0 or value.lane != len(value.shape) - 1 or not shape or shape[0] != value.shape[0]:
        raise Unsupported(f"a view of {value.shape} as {shape}")
    if len(value.shape) == 2 and len(shape) == 3:
        count, width = shape[1:]
        self.require(value, {width * n for n in range(count)})
        pieces = iter(value.parts[()])
        parts: Parts = {}
        for n in range(count):
            parts[(n,)] = list(_taken(pieces, width))
        return Rows(shape, 0, 2, parts, value.origin)
    if len(value.shape) == 3 and len(shape) == 2:
        return Rows(shape, 0, 1, {(): [p for n in range(value.shape[1]) for p in value.parts[(n,)]]}, value.origin)
    raise Unsupported(f"a view of {value.shape} as {shape}")


def _taken(pieces: Any, width: int) -> Any:
    while width > 0:
        piece, size = next(pieces)
        width -= size
        yield piece, size


def expand(self: Lowering, node: fx.Node, value: Rows, size: Sequence[int], **_: Any) -> Rows:
    shape = tuple(node.meta["val"].shape)
    shift = len(shape) - len(value.shape)
    for _n in range(shift):
        value = unsqueeze(self, node, value, 0)
    for dim, (old, new) in enumerate(zip(value.shape, shape, strict=True)):
        if old == new:
            continue
        if dim == value.lane or (value.lane is None and dim == max(value.others, default=-1)):
            if dim != value.lane:  # the last dimension of one part becomes the lane
                place = value.others.index(dim)
                parts = {(*i[:place], *i[place + 1 :]): p for i, p in value.parts.items()}
                value = Rows(value.shape, value.batch, dim, parts, value.origin)
            spans = self.spans(node, new)
            parts = {i: [(p[0][0], end - start) for start, end in spans] for i, p in value.parts.items()}
            wide = (*value.shape[:dim], new, *value.shape[dim + 1 :])
            # the elementwise rule knows a node of width 1 in a wider lane
            value = Rows(wide, value.batch, dim, parts, node)
        else:
            place = value.others.index(dim)
            parts = {(*i[:place], n, *i[place + 1 :]): p for i, p in value.parts.items() for n in range(new)}
            value = Rows(
                (*value.shape[:dim], new, *value.shape[dim + 1 :]), value.batch, value.lane, parts, value.origin
            )
    return value


def repeat(self: Lowering, node: fx.Node, value: Rows, times: Sequence[int]) -> Rows:
    for _ in range(len(times) - len(value.shape)):
        value = unsqueeze(self, node, value, 0)
    repeated = [dim for dim, count in enumerate(times) if count != 1]
    if len(repeated) > 1:
        raise Unsupported("a repeat along several dimensions")
    for dim in repeated:
        value = cat(self, node, [value] * times[dim], dim)
    return value


def slice_(
    self: Lowering,
    node: fx.Node,
    value: Rows,
    dim: int = 0,
    start: int | None = 0,
    end: int | None = None,
    step: int = 1,
) -> Rows:
    dim %= len(value.shape)
    size = value.shape[dim]
    if dim == value.batch:
        if (start or 0) == 0 and (end is None or end >= size) and step == 1:
            return value
        raise Unsupported("a slice of the batch")
    first, last, _ = slice(start, end, step).indices(size)
    if dim == value.lane:
        if step != 1:
            raise Unsupported("a slice with steps")
        return _narrow(self, node, value, first, last)
    place = value.others.index(dim)
    kept = list(range(first, last, step))
    parts = {(*i[:place], kept.index(i[place]), *i[place + 1 :]): p for i, p in value.parts.items() if i[place] in kept}
    shape = (*value.shape[:dim], len(kept), *value.shape[dim + 1 :])
    return Rows(shape, value.batch, value.lane, parts, value.origin)


def _narrow(self: Lowering, node: fx.Node, value: Rows, first: int, last: int) -> Rows:
    """Columns of the lane; cuts asked of them are asked of what they are columns of."""
    assert value.lane is not None
    self.require(value, {first, last} | {first + c for c in self.cuts[node]})
    parts: Parts = {}
    for index, pieces in value.parts.items():
        at = 0
        parts[index] = []
        for piece, width in pieces:
            if first <= at < last:
                parts[index].append((piece, width))
            at += width
    shape = tuple(last - first if d == value.lane else s for d, s in enumerate(value.shape))
    return Rows(shape, value.batch, value.lane, parts, node)


def select(self: Lowering, node: fx.Node, value: Rows, dim: int, index: int) -> Rows:
    dim %= len(value.shape)
    if dim == value.batch:
        raise Unsupported("one row of the batch")
    index %= value.shape[dim]
    return _without(slice_(self, node, value, dim, index, index + 1), dim)


def split_with_sizes(
    self: Lowering, node: fx.Node, value: Rows, sizes: Sequence[int], dim: int = 0
) -> tuple[Rows, ...]:
    dim %= len(value.shape)
    if dim == value.lane:
        self.require(value, set(itertools.accumulate(sizes)))
    ends = list(itertools.accumulate(sizes))
    starts = [end - size for end, size in zip(ends, sizes, strict=True)]
    if dim == value.lane:
        # each result is an origin of its own: the traced getitem is where cuts are noted, so pass them on here
        for user in node.users:
            which = user.args[1]
            self.require(value, {starts[which] + c for c in self.cuts[user]})  # type: ignore[index]
    results = []
    for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = slice_(self, node, value, dim, start, end)
        user = next((u for u in node.users if u.args[1] == n), node)
        results.append(Rows(part.shape, part.batch, part.lane, part.parts, user))
    return tuple(results)


def split(self: Lowering, node: fx.Node, value: Rows, size: int, dim: int = 0) -> tuple[Rows, ...]:
    whole = value.shape[dim]
    return split_with_sizes(self, node, value, [min(size, whole - at) for at in range(0, whole, size)], dim)


def getitem(self: Lowering, node: fx.Node, values: Sequence[Any], index: int) -> Any:
    return values[index]


def cat(self: Lowering, node: fx.Node, values: Sequence[Any], dim: int = 0) -> Rows:
    shape = tuple(node.meta["val"].shape)
    dim %= len(shape)
    rows = [_as_lane(_as_rows(value, node)) for value in values]
    first = next(r for r in rows if r.lane is not None) if any(r.lane is not None for r in rows) else rows[0]
    if dim == first.batch:
        raise Unsupported("a cat along the batch")
    if any((r.batch, r.lane) != (first.batch, first.lane) for r in rows):
        raise Unsupported("a cat of tensors whose dimensions stand in different orders")
    if dim == first.lane:
        at = 0
        for r in rows:
            self.require(r, {c - at for c in self.cuts[node] if at < c < at + r.width})
            at += r.width
        parts = {i: [p for r in rows for p in r.parts[i]] for i in first.parts}
        return Rows(shape, first.batch, first.lane, parts, node)
    place = first.others.index(dim)
    parts, at = {}, 0
    edges = {e for r in rows for pieces in r.parts.values() for e in itertools.accumulate(w for _, w in pieces)}
    for r in rows:
        if first.lane is not None:
            self.require(r, (edges | self.cuts[node]) - {0, r.width})
        parts |= {(*i[:place], i[place] + at, *i[place + 1 :]): p for i, p in r.parts.items()}
        at += r.shape[dim]
    return Rows(shape, first.batch, first.lane, parts, node)


def _as_rows(value: Any, node: fx.Node) -> Rows:
    if not isinstance(value, Rows):
        raise Unsupported("a cat of rows and weights")
    return value


def slice_scatter(
    self: Lowering,
    node: fx.Node,
    base: Any,
    source: Any,
    dim: int = 0,
    start: int | None = 0,
    end: int | None = None,
    step: int = 1,
) -> Rows:
    """Columns of one tensor set in another: an assignment to a slice, or the gradient of a slice."""
    shape = tuple(node.meta["val"].shape)
    dim %= len(shape)
    first, last, _ = slice(start, end, 1).indices(shape[dim])
    if step != 1:
        raise Unsupported("an assignment with steps")
    part = tuple(last - first if d == dim else size for d, size in enumerate(shape))
    cuts = {first, last, *self.cuts[node]}
    base_cuts, source_cuts = {c for c in cuts if not first < c < last}, {c - first for c in cuts if first < c < last}
    base, source = _as_lane(base), _as_lane(source)
    like = next((v for v in (source, base) if isinstance(v, Rows)), None)
    base = _full(self, node, base, shape, like, base_cuts)
    source = _full(self, node, source, part, like, source_cuts)
    if (base.batch, base.lane) != (source.batch, source.lane):
        raise Unsupported("an assignment between tensors whose dimensions stand in different orders")
    if dim == source.batch:
        if (first, last) == (0, shape[dim]):
            return source
        raise Unsupported("a slice of the batch")
    if dim != source.lane:
        for rows in (base, source):
            self.require(rows, self.cuts[node])
        place = source.others.index(dim)
        put = {(*i[:place], i[place] + first, *i[place + 1 :]): pieces for i, pieces in source.parts.items()}
        return Rows(shape, source.batch, source.lane, {**base.parts, **put}, node)
    self.require(source, source_cuts)
    self.require(base, base_cuts)
    parts: Parts = {}
    for index, pieces in source.parts.items():
        around = list(
            zip(base.parts[index], itertools.accumulate(width for _, width in base.parts[index]), strict=True)
        )
        before = [piece for piece, ends in around if ends <= first]
        after = [piece for piece, ends in around if ends - piece[1] >= last]
        parts[index] = [*before, *pieces, *after]
    return Rows(shape, source.batch, source.lane, parts, node)


def _full(self: Lowering, node: fx.Node, value: Any, shape: tuple[int, ...], like: Rows | None, cuts: set[int]) -> Rows:
    """A number as rows, whose dimensions stand as in others, cut where they are."""
    if isinstance(value, Rows):
        return value
    if isinstance(value, Node):
        raise Unsupported("an assignment of weights to columns of rows")
    batch = shape.index(self.batch) if like is None else like.batch
    lane = max(d for d in range(len(shape)) if d != batch) if like is None else like.lane
    width = 1 if lane is None else shape[lane]
    edges = [0, *sorted(c for c in cuts if 0 < c < width), width]
    pieces: Pieces = [(value, b - a) for a, b in itertools.pairwise(edges)]
    sizes = [shape[d] for d in range(len(shape)) if d not in (batch, lane)]
    return Rows(shape, batch, lane, dict.fromkeys(itertools.product(*map(range, sizes)), pieces), node)


def select_scatter(self: Lowering, node: fx.Node, base: Any, source: Any, dim: int, index: int) -> Rows:
    dim %= len(node.meta["val"].shape)
    index %= node.meta["val"].shape[dim]
    if isinstance(source, Rows):
        source = unsqueeze(self, node, source, dim)
    return slice_scatter(self, node, base, source, dim, index, index + 1)


def as_strided(self: Lowering, node: fx.Node, value: Any, *layout: Any) -> Any:
    """What torch's own derivative of an assignment writes for columns."""
    for dim, first, last, is_one in _chosen(node, *layout):
        if is_one:
            value = select(self, node, value, dim, first)
        else:
            value = slice_(self, node, value, dim, first, last)
    return value


def as_strided_scatter(self: Lowering, node: fx.Node, base: Any, source: Any, *layout: Any) -> Any:
    chosen = [c for c in _chosen(node, *layout) if c[3] or c[2] - c[1] < node.meta["val"].shape[c[0]]]
    if len(chosen) > 1:
        raise Unsupported("an assignment to some of several dimensions")
    for dim, first, last, is_one in chosen:
        if is_one:
            return select_scatter(self, node, base, source, dim, first)
        return slice_scatter(self, node, base, source, dim, first, last)
    return source


def _chosen(
    node: fx.Node, size: Sequence[int], stride: Sequence[int], offset: int | None = 0
) -> list[tuple[int, int, int, bool]]:
    """Dimensions of a tensor, the last first: where what has these sizes and strides begins, ends, or is one."""
    source: Any = node.args[0]
    shape, strides = source.meta["val"].shape, source.meta["val"].stride()
    left, wanted, at = list(zip(size, stride, strict=True)), [], offset or 0
    for dim, step in sorted(enumerate(strides), key=lambda d: -d[1]):
        first, at = divmod(at, step)
        if left and left[0][1] == step and first + left[0][0] <= shape[dim]:
            wanted.append((dim, first, first + left.pop(0)[0], False))
        else:
            wanted.append((dim, first, first + 1, True))
    if left or at:
        raise Unsupported("an assignment to what is not a range of columns")
    return sorted(wanted, reverse=True)


# ---------------------------------------------------------------- reductions


def sum_(
    self: Lowering, node: fx.Node, value: Rows, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Any:
    return _reduced(self, node, value, dims, keepdim, "sum")


def amax(self: Lowering, node: fx.Node, value: Rows, dims: Sequence[int] = (), keepdim: bool = False) -> Any:
    return _reduced(self, node, value, dims, keepdim, "amax")


def amin(self: Lowering, node: fx.Node, value: Rows, dims: Sequence[int] = (), keepdim: bool = False) -> Any:
    return _reduced(self, node, value, dims, keepdim, "amin")


def mean(
    self: Lowering, node: fx.Node, value: Rows, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Any:
    ranks = len(value.shape)
    wanted = range(ranks) if not dims else [d % ranks for d in dims]
    if value.batch in wanted:
        raise Unsupported("a mean over the batch")
    total = _reduced(self, node, value, list(wanted), keepdim, "sum")
    return self.apply("mul", node, [total, 1 / math.prod(value.shape[d] for d in wanted)])


def _reduced(self: Lowering, node: fx.Node, value: Rows, dims: Any, keepdim: bool, name: str) -> Any:
    ranks = len(value.shape)
    wanted = sorted(range(ranks) if not dims else (d % ranks for d in dims))
    if node.args[0].meta["val"].dtype == torch.bool:  # type: ignore[union-attr]
        value = self.apply("real", node, [value])
    if value.batch in wanted:
        value = _as_lane(value)
        if name != "sum" or len(value.parts) != 1:
            raise Unsupported(f"{name} over the batch")
        return _total(self, node, value, wanted, keepdim)
    combine = {"sum": "add", "amax": "maximum", "amin": "minimum"}[name]
    over_parts = [d for d in wanted if d != value.lane]
    others = value.others
    kept = [n for n, d in enumerate(others) if d not in over_parts]
    if over_parts and value.lane is not None and value.lane not in wanted:
        edges = {e for p in value.parts.values() for e in itertools.accumulate(w for _, w in p)} | self.cuts[node]
        self.require(value, edges - {value.width})
    folded: Parts = {}
    for index, pieces in value.parts.items():
        if value.lane in wanted:
            pieces = [(self.reduce(pieces, name), 1)]
        key = tuple(index[n] for n in kept)
        if key in folded:
            both = zip(folded[key], pieces, strict=True)
            folded[key] = [(self.op(combine, a, b), width) for (a, width), (b, _) in both]
        else:
            folded[key] = pieces
    lane = value.lane if value.lane not in wanted else None
    shape = tuple(s for d, s in enumerate(value.shape) if d not in wanted)
    batch = value.batch - sum(d < value.batch for d in wanted)
    new_lane = None if lane is None else lane - sum(d < lane for d in wanted)
    result = Rows(shape, batch, new_lane, folded, node)
    if keepdim:
        for dim in wanted:
            result = unsqueeze(self, node, result, dim)
    return Rows(result.shape, result.batch, result.lane, result.parts, node)


def _total(self: Lowering, node: fx.Node, value: Rows, wanted: list[int], keepdim: bool) -> Node:
    """Over the batch: (B, n) -> (n,), the gradient of a bias."""
    (pieces,) = value.parts.values()
    if value.lane is not None and value.lane in wanted:
        pieces = [(self.reduce(pieces, "sum"), 1)]
    nodes = [self._filled(piece, width) for piece, width in pieces]
    parts = [self.graph.node("total", [n], kind="sum", shape=[n.width]) for n in nodes]
    total = free.cat(self.graph, parts, 0)
    shape = tuple(node.meta["val"].shape)
    if shape == total.shape:
        return total
    return free.call(self.graph, aten.view.default, (total, shape), {}, torch.empty(shape, device="meta"))


# ---------------------------------------------------------------- made of others


def layer_norm(
    self: Lowering, node: fx.Node, value: Rows, sizes: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Rows, Rows, Rows]:
    """(out, mean, 1 / standard deviation), as torch's gives them."""
    value = _as_lane(value)
    if len(sizes) != 1 or value.lane != len(value.shape) - 1:
        raise Unsupported("layer norm over anything but the last dimension")
    average = mean(self, node, value, [value.lane], True)
    off = self.apply("sub", node, [value, average])
    square = self.apply("mul", node, [off, off])
    variance = mean(self, node, square, [value.lane], True)
    scale = self.apply("rsqrt", node, [self.apply("add", node, [variance, eps])])
    out = self.apply("mul", node, [off, scale])
    if weight is not None:
        out = self.apply("mul", node, [out, weight])
    if bias is not None:
        out = self.apply("add", node, [out, bias])
    return out, average, scale


def variance(
    self: Lowering,
    node: fx.Node,
    value: Rows,
    dims: Sequence[int] | None = None,
    *,
    correction: float = 1,
    keepdim: bool = False,
) -> Rows:
    ranks = len(value.shape)
    wanted = [d % ranks for d in dims] if dims else list(range(ranks))
    off = self.apply("sub", node, [value, mean(self, node, value, wanted, True)])
    total = _reduced(self, node, self.apply("mul", node, [off, off]), wanted, keepdim, "sum")
    return self.apply("div", node, [total, float(math.prod(value.shape[d] for d in wanted) - correction)])


def vector_norm(
    self: Lowering,
    node: fx.Node,
    value: Rows,
    ord: float = 2,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,
) -> Rows:
    if ord != 2:
        raise Unsupported(f"a norm of order {ord}")
    total = _reduced(self, node, self.apply("mul", node, [value, value]), dims, keepdim, "sum")
    return self.apply("sqrt", node, [total])


def softmax(self: Lowering, node: fx.Node, value: Rows, dim: int, half_to_float: bool = False) -> Rows:
    largest = _reduced(self, node, value, [dim], True, "amax")
    powers = self.apply("exp", node, [self.apply("sub", node, [value, largest])])
    return self.apply("div", node, [powers, _reduced(self, node, powers, [dim], True, "sum")])


def log_softmax(self: Lowering, node: fx.Node, value: Rows, dim: int, half_to_float: bool = False) -> Rows:
    shifted = self.apply("sub", node, [value, _reduced(self, node, value, [dim], True, "amax")])
    total = _reduced(self, node, self.apply("exp", node, [shifted]), [dim], True, "sum")
    return self.apply("sub", node, [shifted, self.apply("log", node, [total])])


def relu(self: Lowering, node: fx.Node, value: Rows) -> Rows:
    return self.apply("maximum", node, [value, 0.0])


def threshold_backward(self: Lowering, node: fx.Node, slope: Any, value: Any, threshold: float) -> Rows:
    return self.apply("where", node, [self.apply("le", node, [value, threshold]), 0.0, slope])


def clamp(self: Lowering, node: fx.Node, value: Any, low: Any = None, high: Any = None) -> Rows:
    if low is not None:
        value = self.apply("maximum", node, [value, low])
    return value if high is None else self.apply("minimum", node, [value, high])


def clamp_max(self: Lowering, node: fx.Node, value: Any, high: Any) -> Rows:
    return clamp(self, node, value, None, high)


def gelu(self: Lowering, node: fx.Node, value: Rows, *, approximate: str = "none") -> Rows:
    do = lambda name, *args: self.apply(name, node, args)  # noqa: E731
    half = do("mul", value, 0.5)
    if approximate == "tanh":
        cube = do("mul", do("mul", value, value), value)
        inner = do("mul", do("add", value, do("mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        return do("mul", half, do("add", do("tanh", inner), 1.0))
    return do("mul", half, do("add", do("erf", do("mul", value, math.sqrt(0.5))), 1.0))


def leaky_relu(self: Lowering, node: fx.Node, value: Rows, slope: float = 0.01) -> Rows:
    return self.apply(
        "where", node, [self.apply("gt", node, [value, 0.0]), value, self.apply("mul", node, [value, slope])]
    )


def elu(self: Lowering, node: fx.Node, value: Rows, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Rows:
    do = lambda name, *args: self.apply(name, node, args)  # noqa: E731
    low = do("mul", do("expm1", do("mul", value, input_scale)), alpha * scale)
    return do("where", do("gt", value, 0.0), do("mul", value, scale), low)


def power(self: Lowering, node: fx.Node, value: Rows, exponent: float) -> Rows:
    do = lambda name, *args: self.apply(name, node, args)  # noqa: E731
    if exponent == 1:
        return value
    if exponent in (2, 3, 4):
        square = do("mul", value, value)
        return square if exponent == 2 else do("mul", square, value if exponent == 3 else square)
    names = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    if exponent in names:
        return do(names[exponent], value)
    return do("pow", value, float(exponent))


_HANDLERS: dict[Any, Callable[..., Any]] = {
    aten.mm.default: mm,
    aten.bmm.default: bmm,
    aten.addmm.default: addmm,
    aten.mv.default: mv,
    aten.permute.default: permute,
    aten.view.default: view,
    aten._unsafe_view.default: view,
    aten.reshape.default: view,
    aten.unsqueeze.default: unsqueeze,
    aten.squeeze.dim: squeeze,
    aten.squeeze.dims: squeeze,
    aten.expand.default: expand,
    aten.repeat.default: repeat,
    aten.slice.Tensor: slice_,
    aten.select.int: select,
    aten.split_with_sizes.default: split_with_sizes,
    aten.split.Tensor: split,
    aten.cat.default: cat,
    aten.slice_scatter.default: slice_scatter,
    aten.select_scatter.default: select_scatter,
    aten.as_strided.default: as_strided,
    aten.as_strided_scatter.default: as_strided_scatter,
    aten._to_copy.default: to_copy,
    aten.copy.default: copy,
    aten.sum.dim_IntList: sum_,
    aten.sum.default: sum_,
    aten.mean.dim: mean,
    aten.mean.default: mean,
    aten.amax.default: amax,
    aten.amin.default: amin,
    aten.var.correction: variance,
    aten.linalg_vector_norm.default: vector_norm,
    aten.native_layer_norm.default: layer_norm,
    aten._softmax.default: softmax,
    aten._log_softmax.default: log_softmax,
    aten.relu.default: relu,
    aten.threshold_backward.default: threshold_backward,
    aten.clamp.default: clamp,
    aten.clamp.Tensor: clamp,
    aten.clamp_min.default: clamp,
    aten.clamp_max.default: clamp_max,
    aten.hardtanh.default: clamp,
    aten.gelu.default: gelu,
    aten.leaky_relu.default: leaky_relu,
    aten.elu.default: elu,
    aten.pow.Tensor_Scalar: power,
    operator.getitem: getitem,
}
_IDENTITIES = frozenset((aten.clone.default, aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default))
_LIKE: dict[Any, Callable[..., float]] = {
    aten.full_like.default: lambda _, value, **__: value,
    aten.zeros_like.default: lambda *_, **__: 0.0,
    aten.ones_like.default: lambda *_, **__: 1.0,
    aten.empty_like.default: lambda *_, **__: math.nan,
    aten.new_empty_strided.default: lambda *_, **__: math.nan,
}
_CONSTANTS: dict[Any, Callable[..., float]] = {
    aten.full.default: lambda size, value, **_: value,
    aten.scalar_tensor.default: lambda value, **_: value,
    aten.zeros.default: lambda *_, **__: 0.0,
    aten.ones.default: lambda *_, **__: 1.0,
    aten.empty.memory_format: lambda *_, **__: math.nan,  # filled by what follows
    aten.empty_permuted.default: lambda *_, **__: math.nan,
    aten.empty_strided.default: lambda *_, **__: math.nan,
    aten.fill.Scalar: lambda _, value: value,
}


def like(self: Lowering, node: fx.Node, *args: Any, **kwargs: Any) -> float:
    return _LIKE[node.target](*args, **kwargs)


_HANDLERS |= dict.fromkeys(_IDENTITIES, identity) | dict.fromkeys(_LIKE, like)


def lower(
    graph: Graph, traced: fx.Graph, constants: Mapping[str, torch.Tensor], inputs: Sequence[Node], batch: int
) -> Any:
    """Lower a traced graph whose placeholders are ``inputs``; returns its outputs, `Rows` or nodes, nested as traced.

    ``constants``: the tensors that its "get_attr" nodes name.
    ``batch``: the number of rows it was traced with, by which the batch dimension is known.
    """
    return Lowering(graph, batch, Handlers(_HANDLERS, _CONSTANTS | _LIKE, _IDENTITIES)).run(traced, constants, inputs)
