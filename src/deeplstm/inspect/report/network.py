"""A network as a row of blocks, from input to output, and the matrices of its gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ...nn._widths import sizes
from ...nn.mlp import MLP
from ...nn.stack import Stack
from ..gates import Gate, Gates, LayerGates


class Matrix(NamedTuple):
    """Weights inside a layer: (rows, columns), the first `split` columns for x, the others for h_prev.

    `gate` is the one that it belongs to, or None for hidden layers that several gates share; `name` says what it is.
    """

    layer: str
    gate: str | None
    name: str
    weight: NDArray[np.float32]
    split: int


def matrices(found: Gates) -> Iterator[Matrix]:
    """The matrix of every gate over [x, h_prev], and of the layers inside gates that have such, shared ones once.

    Then those that belong to no single gate: a projection, and all of a cell of one's own.
    """
    for layer, gates in found.items():
        shared: set[int] = set()
        for gate in gates.values():
            if gate.weight is not None:
                split = 0 if gate.weight_x is None else gate.weight_x.shape[1]
                yield Matrix(layer, gate.name, gate.name, _array(gate.weight), split)
            for n, hidden in enumerate(gate.hidden):
                split = hidden.weight.shape[1] if hidden.weight_x is None else hidden.weight_x.shape[1]
                if len(hidden.shared_by) > 1:
                    place = (hidden.weight if hidden.weight_x is None else hidden.weight_x).data_ptr()
                    if place not in shared:
                        shared.add(place)
                        yield Matrix(layer, None, f"hidden layer {n + 1} of all gates", _array(hidden.weight), split)
                else:
                    last = n == len(gate.hidden) - 1
                    name = f"{gate.name}, its output" if last else f"{gate.name}, hidden layer {n + 1}"
                    yield Matrix(layer, gate.name, name, _array(hidden.weight), split)
        for name, weight in gates.others.items():
            if weight.dim() == 2:
                yield Matrix(layer, None, name, _array(weight), weight.shape[1])


def blocks(model: nn.Module, found: Gates, traced: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a model that have parameters, in the order in which it holds them.

    Args:
        traced: layer name -> value name -> anything: what can be chosen on the page.

    Returns: for each {"name", "kind", "layer" (its name in the traces, or None), "joins" (whether it stands beside the block
        before: the other direction of a layer), "carried" (its state), "gates", "shape", "parameters", "link" (what a
        stack's skip adds around it), "gives" (the width that goes on to the next)}.
    """
    layers: dict[str, list[LayerGates]] = {}
    for layer in found.values():
        layers.setdefault(layer.path, []).append(layer)
    parts: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}  # of the parts of a module and of all that hold it
    for path, module in _parts(model, set(layers)):
        of_module = layers.get(path, [])
        parts += [_layer(layer, module, traced.get(layer.name, {})) for layer in of_module] or [_other(path, module)]
        names = path.split(".")
        last |= {".".join(names[: n + 1]): parts[-1] for n in range(len(names))}
    for path, link in _links(model):
        if path in last:
            last[path]["link"] = link
    return parts


def source_block(name: str, kind: str, gives: str = "") -> dict[str, Any]:
    """The block before all others: what the model reads."""
    return {
        "name": name,
        "kind": kind,
        "layer": None,
        "joins": False,
        "carried": "",
        "gates": [],
        "shape": "",
        "link": "",
        "parameters": 0,
        "gives": gives,
    }


def _links(model: nn.Module) -> Iterator[tuple[str, str]]:
    """The layers of stacks that a link goes around, by path, and the link in words."""
    for path, stack in model.named_modules():
        if not isinstance(stack, Stack) or stack.skip is None:
            continue
        for n, is_linked in enumerate(stack.linked):
            at = f"{path}.layers.{n}" if path else f"layers.{n}"
            if stack.skip == "dense" and n:
                yield at, "reads all before it, too (dense)"
            elif is_linked and stack.skip == "residual":
                yield at, "+ what it reads (residual)"
            elif is_linked:
                count = sum(p.numel() for p in stack.gates[str(n)].parameters())
                yield at, f"highway gate {stack.reads[n]:,} × {stack.reads[n]:,}, {count:,} parameters"


def _parts(module: nn.Module, layers: set[str], path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules to draw: recurrent layers, networks of hidden layers, and what has parameters of its own."""
    if path in layers or isinstance(module, MLP) or next(module.parameters(recurse=False), None) is not None:
        yield path, module
        return
    for name, child in module.named_children():
        if not (isinstance(module, Stack) and child is module.gates):
            yield from _parts(child, layers, f"{path}.{name}" if path else name)


def _layer(layer: LayerGates, module: nn.Module, traced: Mapping[str, Any]) -> dict[str, Any]:
    _, gives = sizes(module)
    return {
        "name": layer.name,
        "kind": layer.cell,
        "layer": layer.name,
        "joins": layer.name.endswith(" reverse") and getattr(module, "bidirectional", False),
        "carried": "h, c" if "c" in traced else "h",
        "gates": [
            {"name": gate.name, "shape": _gate_shape(gate), "traced": gate.name in traced} for gate in layer.values()
        ],
        "shape": "",
        "link": "",
        "parameters": layer.parameters,
        "gives": f"{gives:,}" if gives else "",
    }


def _other(path: str, module: nn.Module) -> dict[str, Any]:
    weight, name = getattr(module, "weight", None), path.rsplit(".", 1)[-1]
    shape = " × ".join(f"{size:,}" for size in weight.shape) if isinstance(weight, Tensor) else ""
    _, gives = sizes(module)
    kind = type(module).__name__
    if isinstance(module, MLP):
        kind, shape = "hidden layers", " → ".join(map(str, module.sizes))
    if isinstance(module, nn.Embedding):
        kind = "a row a symbol"
    title = type(module).__name__ if name.isdigit() or not name else name
    return {
        "name": title,
        "kind": "" if kind.lower() == title.lower() else kind,
        "layer": None,
        "joins": False,
        "carried": "",
        "gates": [],
        "shape": shape,
        "link": "",
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "gives": f"{gives:,}" if gives else "",
    }


def _gate_shape(gate: Gate) -> str:
    hidden = " → ".join(str(len(layer.weight)) for layer in gate.hidden)
    if gate.weight is None:
        return hidden
    parts = [str(part.shape[1]) for part in (gate.weight_x, gate.weight_h) if part is not None]
    size = f"({' + '.join(parts)})" if len(parts) > 1 else parts[0]
    return f"{len(gate.weight)} × {size}" + (f", {hidden}" if hidden else "")


def _array(weight: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = weight.detach().float().cpu().clone().numpy()
    return values
