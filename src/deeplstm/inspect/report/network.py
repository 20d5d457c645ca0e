"""A network as a row of blocks, from input to output, and the matrices of its gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...nn._drop_in import DropIn
from ...nn._widths import sizes
from ...nn.mlp import MLP
from ...nn.recurrent import Recurrent
from ...nn.stack import Stack


class Matrix(NamedTuple):
    """One gate's weights over [x, h_prev]: (rows, columns), the first `split` columns for x."""

    layer: str
    gate: str
    weight: NDArray[np.float32]
    split: int


def weight_matrices(model: nn.Module, paths: Mapping[str, str]) -> list[Matrix]:
    found = []
    for layer, path in paths.items():
        module = model.get_submodule(path)
        cell = module.cell if isinstance(module, Recurrent) else module
        w, r = getattr(cell, "weight_ih", None), getattr(cell, "weight_hh", None)
        if w is None or r is None:
            continue
        names, rows = cell.gate_names, cell.hidden_size
        for n, gate in enumerate(names):
            both = [part.detach()[n * rows : (n + 1) * rows].cpu().float().numpy() for part in (w, r)]
            found.append(Matrix(layer, gate, np.concatenate(both, axis=1), w.shape[1]))
    return found


def blocks(model: nn.Module, paths: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parts of a model that have parameters, in the order in which it holds them.

    Args:
        paths: name of each recurrent layer -> its path in the model, as a `Trace` has them.

    Returns: for each {"name", "kind", "layer" (its name in the traces, or None), "carried" (its state), "gates", "shape",
        "parameters", "gives" (the width that goes on to the next)}.
    """
    names: dict[str, list[str]] = {}
    for name, path in paths.items():
        names.setdefault(path, []).append(name)
    matrices: dict[str, list[Matrix]] = {}
    for matrix in weight_matrices(model, paths):
        matrices.setdefault(matrix.layer, []).append(matrix)
    return [
        block
        for path, module in _parts(model, set(names))
        for block in _blocks_of(path, module, names.get(path, []), matrices)
    ]


def _parts(module: nn.Module, layers: set[str], path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules to draw: recurrent layers, networks of hidden layers, and what has parameters of its own."""
    if path in layers or isinstance(module, MLP) or next(module.parameters(recurse=False), None) is not None:
        if next(module.parameters(), None) is not None:
            yield path, module
        return
    for name, child in module.named_children():
        inside = f"{path}.{name}" if path else name
        if not (isinstance(module, Stack) and child is module.gates):
            yield from _parts(child, layers, inside)


def _blocks_of(
    path: str, module: nn.Module, layers: Sequence[str], matrices: Mapping[str, list[Matrix]]
) -> Iterator[dict[str, Any]]:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    reads, gives = sizes(module)
    common = {"carried": "", "gates": [], "shape": "", "parameters": parameters, "gives": f"{gives:,}" if gives else ""}
    if not layers:
        shape = _shape(module)
        name = path.rsplit(".", 1)[-1]
        kind = _kind(module)
        yield {**common, "name": kind if name.isdigit() else name, "kind": kind, "layer": None, "shape": shape}
        return
    for layer in layers:
        cell = module.cell if isinstance(module, Recurrent) else module
        gates = [
            {"name": one.gate, "shape": f"{len(one.weight)} × ({one.split} + {one.weight.shape[1] - one.split})"}
            for one in matrices.get(layer, [])
        ]
        width = getattr(cell, "hidden_size", None)
        kind = type(cell).__name__.removesuffix("Cell") + (f", {width:,} units" if width else "")
        carried = "h, c" if isinstance(getattr(cell, "state_size", 0), tuple) or isinstance(module, nn.LSTM) else "h"
        yield {**common, "name": layer, "kind": kind, "layer": layer, "carried": carried, "gates": gates}


def _kind(module: nn.Module) -> str:
    if isinstance(module, MLP):
        return "hidden layers" if len(module.sizes) > 2 else "hidden layer"
    if isinstance(module, nn.Embedding):
        return "a row a symbol"
    return "a sum a symbol" if type(module).__name__ == "Output" else type(module).__name__


def _shape(module: nn.Module) -> str:
    if isinstance(module, MLP):
        return " → ".join(map(str, module.sizes))
    weight = getattr(module, "weight", None)
    return " × ".join(f"{size:,}" for size in weight.shape) if weight is not None else ""
