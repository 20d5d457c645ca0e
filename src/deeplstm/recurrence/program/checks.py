"""What a program that was read must hold to, so that what runs it need not look again.

Kernels take from a program where every value lies and how wide it is. Captured programs are right by the way they are made; of
one that was read, every node is checked against what its operator makes of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch

from . import free
from .capture import Signature, Step
from .graph import Graph, Node, dependents, order
from .operators import TABLE, aten
from .split import REDUCTIONS

LARGEST = 1 << 32
"""Numbers that one value may have (of rows, a row)."""

_MASKS_TO_MASK = ("and", "or", "not")
_OF_TWO = ("add", "sub", "mul", "div", "maximum", "minimum", "pow", "gt", "ge", "lt", "le", "eq", "ne", "and", "or")
_SUMS = ("outer", "total")
_PURE = (torch.Tag.core, torch.Tag.pointwise)
_IMPURE = (torch.Tag.nondeterministic_seeded, torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_OTHERS = ("as_strided_scatter", "diagonal_scatter", "max", "min", "trace")


@lru_cache
def is_known(operator: Any) -> bool:
    """Whether an operator of torch may make tensors of weights: those that only compute, and check what they are given.

    These are torch's core operators (docs.pytorch.org, torch.compiler_ir), pointwise ones and linear algebra.
    """
    if not isinstance(operator, torch._ops.OpOverload) or operator.namespace != "aten":
        return False
    schema, name = operator._schema, operator._schema.name.removeprefix("aten::")
    is_pure = (
        any(tag in operator.tags for tag in _PURE) or name.removeprefix("_").startswith("linalg_") or name in _OTHERS
    )
    is_impure = (
        schema.is_mutable or any(tag in operator.tags for tag in _IMPURE) or "empty" in name or "embedding" in name
    )
    takes = {str(argument.type) for argument in schema.arguments}
    gives = {str(result.type) for result in schema.returns}
    is_plain = gives <= {"Tensor", "Tensor[]"} and not any("Generator" in kind or "Stream" in kind for kind in takes)
    return is_pure and not is_impure and is_plain


def check_signature(s: Signature) -> None:
    """Raise ValueError where a signature is not made of what it should be."""
    sizes = [s.x, *s.states, *(width for _, width, _ in s.noise), *(n for _, shape in s.weights for n in shape)]
    names = [[n for n, _ in s.weights], [n for n, *_ in s.noise], list(s.trace)]
    is_right = (
        all(type(part) is tuple for part in (s.weights, s.states, s.noise, s.trace))
        and all(type(n) is int and 0 < n <= LARGEST for n in sizes)
        and all(type(shape) is tuple and math.prod(shape) <= LARGEST for _, shape in s.weights)
        and all(type(name) is str for group in names for name in group)
        and all(len(set(group)) == len(group) for group in names)
        and all(type(flag) is bool for flag in (s.is_tuple, s.has_noise, *(is_mask for *_, is_mask in s.noise)))
        and (s.is_tuple or len(s.states) == 1)
        and (s.has_noise or not s.noise)
        and len(s.states) > 0
        and s.dtype in (torch.float32, torch.float64)
    )
    if not is_right:
        raise ValueError("its signature is not one")


class Checker:
    """Checks nodes, each after its arguments, then the step that they make."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.graph = Graph()
        self.dtypes: dict[Node, torch.dtype] = {}
        self.leaves: set[Node] = set()

    def check(self, node: Node) -> None:
        """Raise ValueError where a node is not what its operator makes of its arguments."""
        try:
            is_right = self._is_right(node)
        except (TypeError, AttributeError, IndexError, KeyError, OverflowError, RuntimeError) as error:
            raise ValueError(f"{node.op!r} does not take {node.args}: {error}") from error
        if not is_right:
            raise ValueError(f"{node.op!r} of shape {node.shape} does not follow from its arguments")

    def _is_right(self, node: Node) -> bool:
        is_sized = all(type(n) is int and n >= 0 for n in node.shape) and math.prod(node.shape) <= LARGEST
        if type(node.op) is not str or not is_sized or type(node.is_bool) is not bool:
            return False
        if node.op == "weight":
            return self._is_leaf(node) and node.kind == "free" and not node.is_bool
        if node.op == "constant":
            return node.kind == "free" and node.args == () and self._are_numbers(node.attrs) and self._is_whole(node)
        if node.op == "aten":
            return self._is_torchs(node)
        if node.op in _SUMS:
            return node.kind == "sum" and not node.is_bool and self._is_sum(node)
        if node.kind != "rows" or len(node.shape) != 1 or node.width < 1:
            return False
        if node.op == "input":
            return self._is_leaf(node)
        if node.op == "slice":
            return self._is_slice(node)
        if node.op in TABLE:
            return node.attrs == () and self._is_elementwise(node)
        rule = _RULES.get(node.op)
        return rule is not None and node.attrs == () and not node.is_bool and rule(self, node)

    # ---------------------------------------------------------------- leaves

    def _is_leaf(self, node: Node) -> bool:
        self.leaves.add(node)
        self.dtypes[node] = torch.bool if node.is_bool else self.signature.dtype
        return node.args == () and [type(a) for a in node.attrs] == [str]

    def _is_whole(self, node: Node) -> bool:
        self.dtypes[node] = torch.bool if node.is_bool else self.signature.dtype
        return len(node.attrs) == math.prod(node.shape)

    @staticmethod
    def _are_numbers(values: Sequence[Any]) -> bool:
        return all(
            (type(a) in (bool, int, float) and abs(a) < 1e308) or a in (math.inf, -math.inf) or a != a for a in values
        )

    # ---------------------------------------------------------------- rows

    @staticmethod
    def _are_rows(values: Sequence[Any]) -> bool:
        return all(isinstance(v, Node) and v.kind == "rows" and not v.is_bool for v in values)

    def _is_slice(self, node: Node) -> bool:
        (source,), (start,) = node.args, node.attrs
        fits = type(start) is int and 0 <= start <= source.width - node.width
        return source.op == "input" and fits and node.is_bool == source.is_bool

    def _is_elementwise(self, node: Node) -> bool:
        args = node.args
        nodes = [a for a in args if isinstance(a, Node)]
        count = 3 if node.op == "where" else 2 if node.op in _OF_TWO else 1
        shapes = [(1,) if n.shape == () else n.shape for n in nodes]
        if len(args) != count or not self._are_numbers([a for a in args if not isinstance(a, Node)]):
            return False
        if not all(self._can_be_read(n) for n in nodes) or not any(n.kind == "rows" for n in nodes):
            return False
        if not set(shapes) <= {(1,), node.shape} or node.shape not in shapes:
            return False
        masks = [isinstance(a, Node) and a.is_bool for a in args]
        if node.op == "where":
            return masks[0] and (masks[1:] == [node.is_bool] * 2) and (not node.is_bool or len(nodes) == 3)
        if node.op in _MASKS_TO_MASK:
            return all(masks) and node.is_bool
        return all(m == (node.op == "real") for m in masks) and node.is_bool == TABLE[node.op].gives_bool

    def _can_be_read(self, node: Node) -> bool:
        """Whether a kernel can read a value beside others: rows, or a vector of weights as it lies in memory."""
        if node.kind == "rows":
            return node.op != "cat"
        is_dtype = self.dtypes[node] == (torch.bool if node.is_bool else self.signature.dtype)
        return node.kind == "free" and is_dtype and free.in_a_row(self.graph, node) is node

    def _is_linear(self, node: Node) -> bool:
        rows, weight = node.args
        is_weight = weight.kind == "free" and not weight.is_bool and self.dtypes[weight] == self.signature.dtype
        return self._are_rows([rows]) and is_weight and weight.shape == (rows.width, node.width)

    def _is_cat(self, node: Node) -> bool:
        is_flat = all(a.op != "cat" for a in node.args)
        return self._are_rows(node.args) and is_flat and node.width == sum(a.width for a in node.args)

    def _is_fill(self, node: Node) -> bool:
        return len(node.args) == 1 and self._are_numbers(node.args)

    def _is_reduction(self, node: Node) -> bool:
        (rows,) = node.args
        return self._are_rows([rows]) and rows.op != "cat" and node.shape == (1,)

    def _is_sum(self, node: Node) -> bool:
        self.dtypes[node] = self.signature.dtype
        widths = tuple(a.width for a in node.args)
        is_one = node.op == "outer" or node.args[0].op != "cat"
        count = 2 if node.op == "outer" else 1
        return (
            node.attrs == () and self._are_rows(node.args) and len(widths) == count and node.shape == widths and is_one
        )

    # ---------------------------------------------------------------- what torch makes of weights

    def _is_torchs(self, node: Node) -> bool:
        """Ask torch, with tensors that have a shape and no memory."""
        target, named, *which = node.attrs
        inputs = node.inputs
        kind = "sum" if any(n.kind == "sum" for n in inputs) else "free"
        if not is_known(target) or node.kind != kind or any(n.kind == "rows" for n in inputs):
            return False
        if not all(type(n) is int and n >= 0 for n in which) or not self._is_plain_view(node):
            return False
        options = dict(named)
        if options.pop("device", torch.device("cpu")) != torch.device("cpu"):
            return False
        options = {key: self.signature.dtype if value == free.REAL else value for key, value in options.items()}
        given = [self._meta(a) for a in node.args]
        for n, (value, argument) in enumerate(zip(node.args, target._schema.arguments, strict=False)):
            if isinstance(value, bool | int | float) and "Tensor" in str(argument.type):
                dtype = torch.bool if isinstance(value, bool) else self.signature.dtype
                given[n] = torch.empty((), device="meta", dtype=dtype)
        result = target(*given, **options)
        result = result[which[0]] if which else result
        self.dtypes[node] = result.dtype
        return tuple(result.shape) == node.shape and (result.dtype == torch.bool) == node.is_bool

    def _meta(self, value: Any) -> Any:
        if isinstance(value, Node):
            return torch.empty(value.shape, dtype=self.dtypes[value], device="meta")
        return [self._meta(v) for v in value] if isinstance(value, tuple) else value

    @staticmethod
    def _is_plain_view(node: Node) -> bool:
        """Whether what kernels read through to memory says where it lies as `free.py` does: no index counts from the end."""
        target, args = node.attrs[0], node.args
        if target not in (aten.slice.Tensor, aten.select.int, aten.permute.default):
            return True
        source, *numbers = args
        if target is aten.permute.default:
            (dims,) = numbers
            return all(type(d) is int and d >= 0 for d in dims) and (len(dims) != 2 or dims == (1, 0))
        if target is aten.slice.Tensor and len(args) != 4:
            return True  # with steps: torch makes a tensor of it
        dim, first, *rest = numbers
        is_plain = all(type(n) is int and n >= 0 for n in numbers) and dim < len(source.shape)
        if target is aten.select.int:
            return is_plain and rest == [] and first < source.shape[dim]
        return is_plain and first <= rest[0] <= source.shape[dim]

    # ---------------------------------------------------------------- the step

    def check_step(self, step: Step) -> None:
        """Raise ValueError where the leaves and results of a step are not what its signature says."""
        s = self.signature
        real = lambda width: (width, False)  # noqa: E731
        masks = {name: is_mask for name, _, is_mask in s.noise}
        wanted: list[tuple[Iterable[Node], Sequence[tuple[str, str]], Sequence[tuple[Any, bool]]]] = [
            ([step.x], [("input", "x")], [real((s.x,))]),
            (step.states, _numbered("state", s.states), [real((w,)) for w in s.states]),
            (
                step.noise.values(),
                [("input", f"noise {n}") for n, *_ in s.noise],
                [((w,), masks[n]) for n, w, _ in s.noise],
            ),
            (step.weights.values(), [("weight", n) for n, _ in s.weights], [real(shape) for _, shape in s.weights]),
            ([step.dy], [("input", "dy")], [real(step.y.shape)]),
            (step.dnew, _numbered("dnew", s.states), [real((w,)) for w in s.states]),
            (
                step.dmarks.values(),
                [("input", f"dmark {n}") for n in s.trace],
                [real(m.shape) for m in step.marks.values()],
            ),
        ]
        given_leaves = [leaf for leaves, *_ in wanted for leaf in leaves]
        is_right = (
            [list(group) for group in (step.weights, step.noise, step.marks, step.dmarks, step.dweights)]
            == [
                [n for n, _ in s.weights],
                [n for n, *_ in s.noise],
                list(s.trace),
                list(s.trace),
                [n for n, _ in s.weights],
            ]
            and all(
                [(n.op, n.name) for n in leaves] == names and [(n.shape, n.is_bool) for n in leaves] == shapes
                for leaves, names, shapes in wanted
            )
            and set(given_leaves) == self.leaves
            and self._are_results(step)
        )
        if not is_right:
            raise ValueError("its values are not what its signature says")

    def _are_results(self, step: Step) -> bool:
        s = self.signature
        forward = [step.y, *step.new, *step.marks.values()]
        gradients = [(step.dx, s.x), *zip(step.dstates, s.states, strict=True)]
        rows = [(d, width) for d, width in gradients if d is not None]
        sums = [(d, shape) for d, (_, shape) in zip(step.dweights.values(), s.weights, strict=True) if d is not None]
        before = order(forward)
        upstream = [step.dy, *step.dnew, *step.dmarks.values()]
        return (
            self._are_rows([*forward, *(d for d, _ in rows)])
            and [n.width for n in step.new] == list(s.states)
            and [d.width for d, _ in rows] == [width for _, width in rows]
            and all(d.kind == "sum" and not d.is_bool and d.shape == shape for d, shape in sums)
            and all(self.dtypes[d] == s.dtype for d, _ in sums)
            and not dependents(before, upstream).intersection(before)
        )


def _numbered(name: str, widths: Sequence[int]) -> list[tuple[str, str]]:
    return [("input", f"{name}{n}") for n in range(len(widths))]


_RULES: dict[str, Callable[[Checker, Node], bool]] = {
    "linear": Checker._is_linear,
    "cat": Checker._is_cat,
    "fill": Checker._is_fill,
    **dict.fromkeys(REDUCTIONS, Checker._is_reduction),
}
