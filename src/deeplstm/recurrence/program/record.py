"""Which operators of torch some code calls: the graph of them, made by calling the code on tensors without numbers.

Torch's own fake tensors could do it too; they take twice the time, and importing them imports torch's compiler.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .count import Counting, Counts, is_count
from .lines import here
from .operators import ATEN, TABLE, aten
from .rows import Unsupported

_META, _CPU = torch.device("meta"), torch.device("cpu")
_LIFT = aten.lift_fresh.default
_REDUCTIONS = frozenset((aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default))
_LIKE = frozenset((aten.empty_like.default, aten.zeros_like.default, aten.ones_like.default, aten.full_like.default))
_INTO = frozenset((aten.slice_scatter.default, aten.select_scatter.default))
_READS = frozenset((aten._local_scalar_dense.default, aten.nonzero.default))


class Mutates(Exception):
    """An operator changes a tensor in place, which a plain list of operators cannot say."""


class Recorded(Tensor):
    """A tensor of the CPU without numbers: to the code that is recorded nothing shows that it is none.

    Attributes:
        like: a tensor of the meta device, of the same shape, strides and type.
    """

    like: Tensor
    # else torch would make one of every result
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, like: Tensor) -> Recorded:
        made: Recorded = Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=like.dtype, device=_CPU
        )
        made.like = like
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise Unsupported(f"{func} on a tensor of a step that has been captured", here())

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Recorded({list(self.shape)}, {self.dtype})"


class Recorder(TorchDispatchMode):
    """Notes every operator that is called while it is active, on tensors without numbers.

    Attributes:
        graph: what was called, in order; each node's ``meta`` holds the result ("val") and the caller's line ("stack_trace").
        constants: tensors that come from elsewhere, by the names of their "get_attr" nodes.
        mutates: whether a step has changed a tensor in place, so that the graph says nothing.
    """

    def __init__(self, decompositions: dict[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self.mutates = self._is_in_step = False
        self._decompositions = decompositions
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[Tensor] = []  # so that no other tensor gets the number of one

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to say that torch.compile is to leave this alone would import it, which takes a second

    def input(self, shape: Sequence[int], dtype: torch.dtype) -> Recorded:
        like = torch.empty(shape, dtype=dtype, device=_META)
        return self._noted(self.graph.placeholder(f"input{len(self._alive)}"), Recorded(like))

    def step(self, forward: Callable[..., list[Tensor]], *inputs: Any) -> list[Tensor]:
        """What a step gives.

        Raises: `Mutates`, though not before the step is at its end: what it does with the number of rows shows only here.
        """
        self._is_in_step = True
        try:
            with self, Counting():
                outputs = forward(*inputs)
        except Counts:
            raise
        except Exception as error:
            if self.mutates:
                raise Mutates from error
            raise
        finally:
            self._is_in_step = False
        if self.mutates:
            raise Mutates
        return outputs

    def output(self, values: Sequence[Tensor | None]) -> None:
        self.graph.output([self._node_of(v) for v in values])
        for node in reversed(self.graph.nodes):  # torch's own way looks at every node several times more
            if not node.users and not node.is_impure():
                self.graph.erase_node(node)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        decomposed = self._decompositions.get(func, func.decompose if func._can_decompose() else None)
        if decomposed is not None:
            with self:
                result = decomposed(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if func in _READS:
            if not isinstance(
                args[0], Recorded
            ):  # a number that is there already; whoever calls watches where it comes from
                return func(*args, **kwargs)
            raise Unsupported("a branch on the values of tensors", here())
        _check_numbers(func, args, kwargs)
        if func is aten.select.int and is_count(args[0].shape[args[1]]):  # said now: there may be a million
            raise Unsupported("one row of the batch", here())
        if func is _LIFT:
            if any(map(is_count, args[0].flatten().tolist())):
                raise Counts
            return self._constant(args[0])
        if func._schema.is_mutable:
            self.mutates = True
            keeps_shape = func._schema.name[-1] == "_" and torch.Tag.inplace_view not in func.tags
            if self._is_in_step and keeps_shape and isinstance(args[0], Recorded):
                return args[0]
            raise Mutates(str(func))
        has_device = "device" in kwargs or not _tensors_in((args, kwargs))
        nodes, named = _mapped(self._node_of, (args, kwargs))
        args, kwargs = _mapped(_like, (args, kwargs))
        result = _shaped(func, args, kwargs)
        if result is None:
            result = func(*args, **({**kwargs, "device": _META} if has_device else kwargs))
        if "device" in named:
            named["device"] = _CPU
        node = self.graph.call_function(func, tuple(nodes), named)
        line = here()
        if line is not None:
            node.meta["stack_trace"] = f"File {line}"
        if isinstance(result, Tensor):
            return self._noted(node, Recorded(result))
        node.meta["val"] = result
        return type(result)(
            self._noted(self.graph.call_function(operator.getitem, (node, n)), Recorded(part))
            if isinstance(part, Tensor)
            else part
            for n, part in enumerate(result)
        )

    def _constant(self, value: Tensor) -> Recorded:
        """A tensor that is there already, as one without numbers."""
        check_constant(value, here())
        name = f"constant{len(self.constants)}"
        self.constants[name] = value
        return self._noted(self.graph.create_node("get_attr", name), Recorded(torch.empty_like(value, device=_META)))

    def _noted(self, node: fx.Node, value: Recorded) -> Recorded:
        node.meta["val"] = value
        self._nodes[id(value)] = node
        self._alive.append(value)
        return value

    def _node_of(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not isinstance(value, Recorded):
            value = self._constant(value)
        return self._nodes[id(value)]


def _check_numbers(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Raise `Counts` where a line of the step gives an operator the number of rows as a number, not as a size."""
    for at, value in (*enumerate(args), *kwargs.items()):
        if type(value) in (int, float) and is_count(value):
            arguments = func._schema.arguments
            argument = arguments[at] if isinstance(at, int) else next(a for a in arguments if a.name == at)
            if "int" not in str(argument.type) and here() is not None:
                raise Counts


def check_constant(value: Tensor, where: str | None) -> None:
    """Raise for a tensor from elsewhere that a program would take as numbers for good. Raises: `Unsupported`."""
    if value.requires_grad or isinstance(value, nn.Parameter):  # it would have no gradient; or be frozen, and change
        raise Unsupported(
            f"a tensor of shape {tuple(value.shape)} that is a parameter or requires grad, and that the step does not read as "
            "a parameter of the cell (register it, and read it from self)",
            where,
        )


def _shaped(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What an operator gives, where its shape is plain: torch's own rules are slow, and some import its compiler."""

    def made(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=_META)

    if func in ATEN:
        values = args[1:] if ATEN[func] == "where" else args
        dtype = torch.bool if TABLE[ATEN[func]].gives_bool else _promoted(values)
        shapes = [a.shape for a in args if isinstance(a, Tensor)]
        return None if dtype is None else made(numpy.broadcast_shapes(*shapes), dtype)
    if func in _LIKE:
        return made(args[0].shape, kwargs.get("dtype") or args[0].dtype)
    if func in _INTO:
        return made(args[0].shape, args[0].dtype)
    if func in (aten.mm.default, aten.addmm.default):
        left, right = args[-2:]
        return made((left.shape[0], right.shape[1]), left.dtype)
    first: Any = args[0] if args else None
    if func is aten.cat.default and len({t.dtype for t in first}) == 1:
        dim = (args[1] if len(args) > 1 else 0) % first[0].dim()
        size = sum(t.shape[dim] for t in first)
        return made([size if d == dim else n for d, n in enumerate(first[0].shape)], first[0].dtype)
    if func in _REDUCTIONS and len(args) > 1 and args[1] and first.dtype.is_floating_point:
        dims, keeps = {d % first.dim() for d in args[1]}, len(args) > 2 and args[2]
        return made([1 if d in dims else n for d, n in enumerate(first.shape) if keeps or d not in dims], first.dtype)
    if func is aten.native_layer_norm.default:
        means = (*first.shape[: -len(args[1])], *(1 for _ in args[1]))
        return made(first.shape, first.dtype), made(means, first.dtype), made(means, first.dtype)
    return None


def _promoted(values: Sequence[Any]) -> torch.dtype | None:
    """The type of real numbers; None for what is not all of one type."""
    types = {v.dtype for v in values if isinstance(v, Tensor)}
    return types.pop() if len(types) == 1 and all(t.is_floating_point for t in types) else None


def _like(value: Any) -> Any:
    if isinstance(value, Recorded):
        return value.like
    return torch.empty_like(value, device=_META) if isinstance(value, Tensor) else value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """An operator's arguments, lists and dicts of them too, each as what a function makes of it."""
    if isinstance(value, tuple | list):
        return type(value)([_mapped(function, part) for part in value])
    if isinstance(value, dict):
        return {key: _mapped(function, part) for key, part in value.items()}
    return function(value)


def _tensors_in(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, list | tuple) and any(_tensors_in(part) for part in value)
