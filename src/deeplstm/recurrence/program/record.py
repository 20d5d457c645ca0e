"""Which operators of torch some code calls: the graph of them, made by calling the code on tensors without numbers."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from .operators import ATEN, TABLE, aten
from .rows import Unsupported

_META, _CPU = torch.device("meta"), torch.device("cpu")
_LIFT = aten.lift_fresh.default
_REDUCTIONS = frozenset((aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default))
_READS = frozenset((aten._local_scalar_dense.default, aten.nonzero.default))


class Mutates(Exception):
    """An operator changes a tensor in place, which a plain list of operators cannot say."""


class Recorder(TorchDispatchMode):
    """Notes every operator that is called while it is active, on tensors of the meta device.

    Attributes:
        graph: what was called, in order; each node's ``meta`` holds the result ("val") and the caller's line ("stack_trace").
        constants: tensors that come from elsewhere, by the names of their "get_attr" nodes.
    """

    def __init__(self, decompositions: dict[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._decompositions = decompositions
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[Tensor] = []  # so that no other tensor gets the number of one

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to say that torch.compile is to leave this alone would import it, which takes a second

    def input(self, name: str, value: Tensor) -> Tensor:
        node = self.graph.placeholder(f"{name}_{len(self._alive)}")
        self._note(node, value)
        return value

    def output(self, values: Sequence[Tensor | None]) -> None:
        self.graph.output([None if v is None else self._node_of(v) for v in values])
        self.graph.eliminate_dead_code()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        decomposed = self._decompositions.get(func, func.decompose if func._can_decompose() else None)
        if decomposed is not None:
            with self:
                result = decomposed(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if func in _READS:
            raise Unsupported("a branch on the values of tensors", self._line())
        if func is _LIFT:
            return self._constant(args[0])
        if func._schema.is_mutable:
            raise Mutates(str(func))
        args, kwargs = tree_map(self._on_meta, (args, kwargs))
        nodes, named = tree_map(lambda v: self._node_of(v) if isinstance(v, Tensor) else v, (args, kwargs))
        has_device = "device" in kwargs or not _tensors_in((args, kwargs))
        result = _shaped(func, args)
        if result is None:
            result = func(*args, **({**kwargs, "device": _META} if has_device else kwargs))
        if "device" in named:
            named["device"] = _CPU
        node = self.graph.call_function(func, tuple(nodes), named)
        line = self._line()
        if line is not None:
            node.meta["stack_trace"] = line
        if isinstance(result, Tensor):
            self._note(node, result)
        else:
            node.meta["val"] = result
            for n, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._note(self.graph.call_function(operator.getitem, (node, n)), part)
        return result

    def _on_meta(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.device != _META:
            return self._constant(value)
        return value

    def _constant(self, value: Tensor) -> Tensor:
        """A tensor that is there already, as one without numbers."""
        name = f"constant{len(self.constants)}"
        self.constants[name] = value
        result = torch.empty_like(value, device=_META)
        self._note(self.graph.create_node("get_attr", name), result)
        return result

    def _note(self, node: fx.Node, value: Tensor) -> None:
        node.meta["val"] = value
        self._nodes[id(value)] = node
        self._alive.append(value)

    def _node_of(self, value: Tensor) -> fx.Node:
        if id(value) not in self._nodes:
            raise Unsupported("a tensor that is neither input, state, parameter nor buffer")
        return self._nodes[id(value)]

    @staticmethod
    def _line() -> str | None:
        """The innermost line that is neither torch's nor ours."""
        frame: Any = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if name.endswith(("program/capture.py", "program\\capture.py")):
                return None
            if "/torch/" not in name and "deeplstm/recurrence" not in name and not name.startswith("<"):
                return f'File "{name}", line {frame.f_lineno}, in {frame.f_code.co_name}'
            frame = frame.f_back
        return None


def _shaped(func: Any, args: Sequence[Any]) -> Any:
    """What an operator gives, where its shape is plain: torch's own rules are slow, and some import its compiler."""

    def made(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=_META)

    if func in ATEN:
        values = args[1:] if ATEN[func] == "where" else args
        dtype = torch.bool if TABLE[ATEN[func]].gives_bool else _promoted(values)
        shapes = [a.shape for a in args if isinstance(a, Tensor)]
        return None if dtype is None else made(torch.broadcast_shapes(*shapes), dtype)
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


def _tensors_in(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, list | tuple) and any(_tensors_in(part) for part in value)
