"""A captured step as one line of text, and back: what an operator in a saved graph carries of its cell.

Text may come from a stranger's file. Reading it runs nothing, and whatever a kernel would later trust, the operators and the
width of every value, is checked.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch

from .capture import Signature, Step
from .graph import Graph, Node, order
from .operators import TABLE, aten
from .rows import Unsupported

FORMAT = 2
"""Raised whenever texts, or the results of the operators that take them (`backends/cpu/opaque.py`), change: torch keeps
compiled graphs on disk, and one with the same text would expect the results there were."""
LARGEST = 1 << 26
"""Bytes that a program may have when it is unpacked."""


def write(name: str, step: Step) -> str:
    """A step as text that starts with a name for people. Raises: `Unsupported` where a node holds what text cannot."""
    nodes = sorted(order(_nodes_in([getattr(step, f.name) for f in fields(step) if f.name != "graph"])), key=_id)
    number = {node: n for n, node in enumerate(nodes)}
    content = {
        "format": FORMAT,
        "nodes": [
            [n.op, _plain(n.args, number), _plain(n.attrs, number), n.kind, list(n.shape), n.is_bool] for n in nodes
        ],
        "signature": {f.name: _plain(getattr(step.signature, f.name), number) for f in fields(Signature)},
        "step": {
            f.name: _plain(getattr(step, f.name), number) for f in fields(Step) if f.name not in ("graph", "signature")
        },
    }
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)
    return f"{name}:{base64.urlsafe_b64encode(packed).decode()}"


def read(text: str) -> Step:
    """The step that a text holds. Raises: ValueError for text that `write` of this version has not written."""
    name, _, packed = text.rpartition(":")
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(base64.urlsafe_b64decode(packed), LARGEST)
        content = json.loads(plain)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, {FORMAT} is expected")
        graph = Graph()
        nodes: list[Node] = []
        for op, args, attrs, kind, shape, is_bool in content["nodes"]:
            given = (op, _value(args, nodes), _value(attrs, nodes), kind, tuple(shape), is_bool)
            _check(*given)
            nodes.append(graph.node(op, given[1], given[2], kind=kind, shape=shape, is_bool=is_bool))
        signature = Signature(**{key: _value(value, nodes) for key, value in content["signature"].items()})
        step = Step(
            **{key: _value(value, nodes) for key, value in content["step"].items()}, signature=signature, graph=graph
        )
        _check_step(step)
    except Exception as error:
        raise ValueError(
            f"The program of {name or 'a cell'} in this graph cannot be read: {error}. It was damaged, or made by another "
            "version of deeplstm: export the model again with this one."
        ) from error
    return step


def _id(node: Node) -> int:
    return node.id


def _nodes_in(value: Any) -> list[Node]:
    if isinstance(value, Node):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [node for part in parts for node in _nodes_in(part)]


# ---------------------------------------------------------------- values: numbers as they are, everything else with its type

_TORCH = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


def _plain(value: Any, number: dict[Node, int]) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Node):
        return {"node": number[value]}
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, tuple | list):
        return [_plain(v, number) for v in value]
    if isinstance(value, dict):
        return {"dict": [[key, _plain(v, number)] for key, v in value.items()]}
    if isinstance(value, torch._ops.OpOverload):
        return {"aten": str(value)}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for kind, type_of in _TORCH.items():
        if isinstance(value, type_of):
            return {kind: str(value)}
    raise Unsupported(f"a constant of {type(value).__name__}")


def _value(plain: Any, nodes: list[Node]) -> Any:
    if isinstance(plain, list):
        return tuple(_value(v, nodes) for v in plain)
    if not isinstance(plain, dict):
        return plain
    ((kind, given),) = plain.items()
    if kind == "node":
        return nodes[given]
    if kind == "name":
        return str(given)
    if kind == "dict":
        return {str(key): _value(v, nodes) for key, v in given}
    if kind == "aten":
        return _aten(given)
    if kind == "device":
        return torch.device(given)
    value = getattr(torch, given.removeprefix("torch."))
    if not isinstance(value, _TORCH[kind]):
        raise ValueError(f"{given} is no {kind}")
    return value


def _aten(name: str) -> Any:
    """One of torch's operators that only compute: tensors and numbers in, tensors out, nothing changed."""
    namespace, packet, overload = name.split(".")
    operator = getattr(getattr(aten, packet), overload)
    kinds = {str(argument.type) for argument in operator._schema.arguments}
    if namespace != "aten" or operator._schema.is_mutable or any("str" in kind or "Stream" in kind for kind in kinds):
        raise ValueError(f"a program does not use {name}")
    return operator


# ---------------------------------------------------------------- checks


def _check(op: Any, args: Any, attrs: Any, kind: Any, shape: Any, is_bool: Any) -> None:
    """Raise where a node is not what its operator makes of its arguments."""
    is_right = (
        kind in ("rows", "free", "sum")
        and all(type(size) is int and size >= 0 for size in shape)
        and type(is_bool) is bool
        and (op in _RULES or op in TABLE)
        and _RULES.get(op, _is_elementwise)(op, args, attrs, shape)
        and (kind == "rows") == (op not in ("weight", "constant", "outer", "total", "aten"))
        and (kind != "rows" or len(shape) == 1)
    )
    if is_right and kind == "rows" and op != "input":
        given = any(a.is_bool for a in args if isinstance(a, Node))
        if op in TABLE:
            is_right = is_bool == (TABLE[op].gives_bool or (op == "where" and all(_is_mask(a) for a in args)))
        else:
            is_right = is_bool == given
    if not is_right:
        raise ValueError(f"{op!r} of shape {shape} does not follow from its arguments")


def _is_mask(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, Node) and value.is_bool)


def _rows(value: Any) -> bool:
    return isinstance(value, Node) and value.kind == "rows"


def _is_elementwise(op: str, args: Any, attrs: Any, shape: Any) -> bool:
    return attrs == () and all(
        type(a) in (bool, int, float) or (isinstance(a, Node) and math.prod(a.shape) in (1, *shape)) for a in args
    )


def _is_linear(op: str, args: Any, attrs: Any, shape: Any) -> bool:
    rows, weight = args
    return attrs == () and _rows(rows) and not _rows(weight) and weight.shape == (rows.width, *shape)


def _is_slice(op: str, args: Any, attrs: Any, shape: Any) -> bool:
    (start,) = attrs
    return _rows(args[0]) and type(start) is int and 0 <= start <= args[0].width - shape[0]


def _is_outer(op: str, args: Any, attrs: Any, shape: Any) -> bool:
    return attrs == () and all(map(_rows, args)) and shape == tuple(a.width for a in args)


def _is_torchs(op: str, args: Any, attrs: Any, shape: Any) -> bool:
    """Ask torch, with tensors that have a shape and no memory."""
    target, named, *which = attrs

    def meta(value: Any) -> Any:
        if isinstance(value, Node):
            return torch.empty(value.shape, dtype=torch.bool if value.is_bool else None, device="meta")
        return [meta(v) for v in value] if isinstance(value, tuple) else value

    taken = list(target._schema.arguments)
    given = [meta(a) for a in args]
    for n, (value, argument) in enumerate(zip(args, taken, strict=False)):
        if isinstance(value, bool | int | float) and "Tensor" in str(argument.type):
            given[n] = torch.empty((), device="meta")
    if not all(key in {argument.name for argument in taken} for key, _ in named):
        return False
    result = target(*given, **{key: v for key, v in named if key != "device"})
    return tuple((result[which[0]] if which else result).shape) == shape


_RULES: dict[str, Callable[[str, Any, Any, Any], bool]] = {
    "input": lambda op, args, attrs, shape: args == () and [type(a) for a in attrs] == [str],
    "weight": lambda op, args, attrs, shape: args == () and [type(a) for a in attrs] == [str],
    "constant": lambda op, args, attrs, shape: (
        args == () and all(type(a) is float for a in attrs) and len(attrs) == math.prod(shape)
    ),
    "linear": _is_linear,
    "slice": _is_slice,
    "cat": lambda op, args, attrs, shape: attrs == () and shape == (sum(a.width for a in args if _rows(a)),),
    "fill": lambda op, args, attrs, shape: attrs == () and [type(a) in (bool, int, float) for a in args] == [True],
    **{
        name: lambda op, args, attrs, shape: attrs == () and len(args) == 1 and _rows(args[0]) and shape == (1,)
        for name in ("sum", "amax", "amin")
    },
    "outer": _is_outer,
    "total": lambda op, args, attrs, shape: attrs == () and _rows(args[0]) and shape == args[0].shape,
    "aten": _is_torchs,
}


def _check_step(step: Step) -> None:
    """Raise where the leaves of a step are not what its signature says."""
    s = step.signature
    expected: list[tuple[Iterable[Node], Sequence[tuple[int, ...]]]] = [
        ([step.x], [(s.x,)]),
        (step.states, [(width,) for width in s.states]),
        (step.noise.values(), [(width,) for _, width, _ in s.noise]),
        (step.weights.values(), [shape for _, shape in s.weights]),
        (step.new, [(width,) for width in s.states]),
        (step.dnew, [(width,) for width in s.states]),
        ([step.dy], [step.y.shape]),
        (step.dmarks.values(), [mark.shape for mark in step.marks.values()]),
        (
            [d for d in (step.dx, *step.dstates) if d is not None],
            [(s.x,)] * (step.dx is not None)
            + [(width,) for d, width in zip(step.dstates, s.states, strict=True) if d is not None],
        ),
    ]
    names = (list(step.weights), list(step.noise), list(step.marks), list(step.dmarks))
    wanted = ([n for n, _ in s.weights], [n for n, *_ in s.noise], list(s.trace), list(s.trace))
    masks = [n.is_bool for n in step.noise.values()] != [is_mask for *_, is_mask in s.noise]
    if any([n.shape for n in given] != list(shapes) for given, shapes in expected) or names != wanted or masks:
        raise ValueError("its values do not have the widths it says")
