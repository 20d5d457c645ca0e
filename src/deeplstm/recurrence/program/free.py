"""What has no rows: expressions of weights, and of sums over rows. Torch evaluates them."""

from __future__ import annotations

import math
from typing import Any

import torch

from .graph import Graph, Kind, Node
from .operators import aten

REAL = "real"
"""Stands for the dtype that a program runs with, where an operator of torch is given one."""


def call(graph: Graph, target: Any, args: Any, kwargs: Any, value: Any) -> Any:
    """An operator of torch on free or sum nodes; ``value`` has its shape (a tuple of values: a node for each)."""
    if target is aten.permute.default and len(args[0].shape) == 2:
        return transposed(graph, args[0]) if args[1][0] % 2 else args[0]
    if target is aten.slice.Tensor and not kwargs and (len(args) < 5 or args[4] == 1):
        dim = (args[1] if len(args) > 1 else 0) % len(args[0].shape)
        start, end, _ = slice(*args[2:4]).indices(args[0].shape[dim]) if len(args) > 3 else (0, args[0].shape[dim], 1)
        return columns(graph, args[0], dim, start, end)
    if target is aten.select.int and not kwargs:
        dim = args[1] % len(args[0].shape)
        return select(graph, args[0], dim, args[2] % args[0].shape[dim])
    if is_padding(target, args):
        return _padded(graph, target, args, value)
    if any(_nodes(tuple(kwargs.values()))):
        raise TypeError("tensors given by name")
    kind: Kind = "sum" if any(n.kind == "sum" for n in _nodes(args)) else "free"
    attrs = (target, tuple(sorted(kwargs.items(), key=lambda item: item[0])))
    if isinstance(value, tuple | list):
        return tuple(
            graph.node("aten", args, (*attrs, n), kind=kind, shape=tuple(v.shape), is_bool=v.dtype == torch.bool)
            for n, v in enumerate(value)
        )
    return graph.node("aten", args, attrs, kind=kind, shape=tuple(value.shape), is_bool=value.dtype == torch.bool)


def is_padding(target: Any, args: Any) -> bool:
    """Whether an operator sets a range, or one index, in a tensor of equal numbers."""
    is_range = target is aten.slice_scatter.default and (len(args) < 6 or args[5] == 1)
    return (is_range or target is aten.select_scatter.default) and not isinstance(args[0], Node)


def _padded(graph: Graph, target: Any, args: Any, value: Any) -> Node:
    """Set in a constant: the gradient of a slice."""
    fill, node, dim, *rest = args
    dim %= len(value.shape)
    if target is aten.select_scatter.default:
        first = rest[0] % value.shape[dim]
        size = [*value.shape[:dim], 1, *value.shape[dim + 1 :]]
        node = _made(graph, aten.view.default, (node, tuple(size)), tuple(size), node.kind)
        last = first + 1
    else:
        first, last, _ = slice(*rest[:2]).indices(value.shape[dim])
    pads = [0, 0] * (len(value.shape) - 1 - dim) + [first, value.shape[dim] - last]
    return _made(graph, aten.constant_pad_nd.default, (node, tuple(pads), fill), tuple(value.shape), node.kind)


def _nodes(value: Any) -> Any:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _nodes(part)


def _made(graph: Graph, target: Any, args: Any, shape: tuple[int, ...], kind: Any) -> Node:
    is_bool = any(n.is_bool for n in _nodes(args))
    return graph.node("aten", args, (target, ()), kind=kind, shape=shape, is_bool=is_bool)


def transposed(graph: Graph, node: Node) -> Node:
    """(n, m) -> (m, n)."""
    if _is_transposed(node):
        return node.args[0]
    return _made(graph, aten.permute.default, (node, (1, 0)), node.shape[::-1], node.kind)


def columns(graph: Graph, node: Node, dim: int, start: int, end: int) -> Node:
    """A range along one dimension."""
    if (start, end) == (0, node.shape[dim]):
        return node
    if _is_transposed(node):
        return transposed(graph, columns(graph, node.args[0], 1 - dim, start, end))
    if _is_range(node) and node.args[1] == dim:
        first = node.args[2]
        return columns(graph, node.args[0], dim, first + start, first + end)
    shape = tuple(end - start if d == dim else size for d, size in enumerate(node.shape))
    return _made(graph, aten.slice.Tensor, (node, dim, start, end), shape, node.kind)


def select(graph: Graph, node: Node, dim: int, index: int) -> Node:
    """One index of one dimension, which goes."""
    shape = tuple(size for d, size in enumerate(node.shape) if d != dim)
    return _made(graph, aten.select.int, (node, dim, index), shape, node.kind)


def unsqueeze(graph: Graph, node: Node) -> Node:
    """(...) -> (1, ...)."""
    return _made(graph, aten.unsqueeze.default, (node, 0), (1, *node.shape), node.kind)


def in_a_row(graph: Graph, node: Node) -> Node:
    """A vector as kernels read one: its numbers side by side."""
    if math.prod(node.shape) == 1 or view_of(node)[2] == (1,):
        return node
    return _made(graph, aten.clone.default, (node,), node.shape, node.kind)


def cat(graph: Graph, nodes: list[Node], dim: int) -> Node:
    """Side by side; ranges that follow each other become one range."""
    merged: list[Node] = []
    for node in nodes:
        if merged and (joined := _joined(graph, merged[-1], node, dim)) is not None:
            merged[-1] = joined
        else:
            merged.append(node)
    if len(merged) == 1:
        return merged[0]
    size = sum(n.shape[dim] for n in merged)
    shape = tuple(size if d == dim else s for d, s in enumerate(merged[0].shape))
    return _made(graph, aten.cat.default, (tuple(merged), dim), shape, merged[0].kind)


def _joined(graph: Graph, a: Node, b: Node, dim: int) -> Node | None:
    if _is_transposed(a) and _is_transposed(b):
        inner = _joined(graph, a.args[0], b.args[0], 1 - dim)
        return None if inner is None else transposed(graph, inner)
    if not (_is_range(a) and _is_range(b)):
        return None
    (base_a, dim_a, start, middle), (base_b, dim_b, middle_b, end) = a.args, b.args
    if base_a is not base_b or (dim_a, dim_b) != (dim, dim) or middle != middle_b:
        return None
    return columns(graph, base_a, dim, start, end)


def view_of(node: Node) -> tuple[Node, int, tuple[int, ...]]:
    """What a node is a view of, where in it (in elements) it starts, and its strides there. The former is contiguous."""
    if _is(node, aten.permute.default):
        source, offset, strides = view_of(node.args[0])
        return source, offset, tuple(strides[d] for d in node.args[1])
    if _is_range(node):
        source, offset, strides = view_of(node.args[0])
        return source, offset + node.args[2] * strides[node.args[1]], strides
    if _is(node, aten.select.int):
        source, offset, strides = view_of(node.args[0])
        _, dim, index = node.args
        return source, offset + index * strides[dim], tuple(s for d, s in enumerate(strides) if d != dim)
    return node, 0, tuple(math.prod(node.shape[d + 1 :]) for d in range(len(node.shape)))


def _is_transposed(node: Node) -> bool:
    return _is(node, aten.permute.default) and len(node.shape) == 2


def _is_range(node: Node) -> bool:
    """A range along one dimension, as `columns` makes one: without steps, and counted from the start."""
    return _is(node, aten.slice.Tensor) and len(node.args) == 4


def _is(node: Node, target: Any) -> bool:
    return node.op == "aten" and node.attrs[0] is target
