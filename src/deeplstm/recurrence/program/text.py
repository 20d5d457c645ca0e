"""A captured step as one line of text, and back: what an operator in a saved graph carries of its cell.

Text may come from a stranger's file. Reading it runs nothing, and whatever a kernel would later trust, the operators and the
width of every value, is checked (`checks.py`).
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import fields
from typing import Any

import torch

from .capture import Signature, Step
from .checks import Checker, check_signature, is_known
from .graph import Graph, Node, order
from .operators import aten
from .rows import Unsupported

FORMAT = 3
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
        if not unpacker.eof:
            raise ValueError("it ends too early" if len(plain) < LARGEST else "it is too long")
        content = json.loads(plain)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, {FORMAT} is expected")
        graph = Graph()
        nodes: list[Node] = []
        signature = Signature(**{key: _value(value, nodes) for key, value in content["signature"].items()})
        check_signature(signature)
        checker = Checker(signature)
        for op, args, attrs, kind, shape, is_bool in content["nodes"]:
            node = graph.node(op, _value(args, nodes), _value(attrs, nodes), kind=kind, shape=shape, is_bool=is_bool)
            checker.check(node)
            nodes.append(node)
        step = Step(
            **{key: _value(value, nodes) for key, value in content["step"].items()}, signature=signature, graph=graph
        )
        checker.check_step(step)
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
        if not is_known(value):
            raise Unsupported(f"{value} of weights")
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
    """One of torch's operators that may make tensors of weights."""
    namespace, packet, overload = name.split(".")
    operator = getattr(getattr(aten, packet), overload)
    if namespace != "aten" or not is_known(operator):
        raise ValueError(f"a program does not use {name}")
    return operator
