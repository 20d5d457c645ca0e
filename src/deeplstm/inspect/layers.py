"""The recurrent layers of a model, and what they are called: "layer 1", "layer 2", ..., "layer 2 reverse"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..nn._drop_in import DropIn
from ..nn.recurrent import Recurrent
from ..recurrence.call import is_cell


@dataclass(frozen=True)
class Layer:
    """One direction of one recurrent layer.

    Attributes:
        name: "layer 1" and so on, in the order in which the model holds them; " reverse" where it runs from the end.
        path: of the module in the model, as ``named_modules`` has it; "" is the model itself.
        module: a `Recurrent`, a drop-in, or a cell that the model calls itself.
        index: which of the recurrences of that module: a drop-in has one for each layer and direction.
    """

    name: str
    path: str
    module: nn.Module
    index: int
    reverse: bool


def layers_of(model: nn.Module) -> list[Layer]:
    """Every recurrent layer of a model, both directions, in the order in which the model holds them."""
    found: list[Layer] = []
    number = 0
    for path, module in _recurrent_modules(model):
        for index, reverse, is_new in _directions(module):
            number += is_new
            name = f"layer {number}" + (" reverse" if reverse else "")
            found.append(Layer(name, path, module, index, reverse))
    return found


def foreign_layers(model: nn.Module) -> list[str]:
    """Torch's own recurrent modules in a model, which show nothing inside: "path (torch.nn.LSTM)"."""
    return [
        f"{path or 'the model'} (torch.nn.{type(module).__name__})"
        for path, module in model.named_modules()
        if isinstance(module, nn.RNNBase) and not isinstance(module, DropIn)
    ]


def _recurrent_modules(
    module: nn.Module, path: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    if isinstance(module, DropIn | Recurrent) or _is_lone_cell(module):
        yield path, module
        return  # what is inside a layer, the cells of a cell included, is a part of it
    for name, child in module.named_children():
        yield from _recurrent_modules(child, f"{path}.{name}" if path else name, seen)


def _is_lone_cell(module: nn.Module) -> bool:
    """Whether a module is a cell, and not a model that has recurrent layers and says how large their state is."""
    return is_cell(module) and not any(isinstance(inner, DropIn | Recurrent) for inner in module.modules())


def _directions(module: nn.Module) -> Iterator[tuple[int, bool, bool]]:
    """For each recurrence of a module, in the order they run: its index, whether it is reverse, whether it is a new layer."""
    if isinstance(module, DropIn):
        both = 2 if module.bidirectional else 1
        for index in range(module.num_layers * both):
            yield index, index % both == 1, index % both == 0
    elif isinstance(module, Recurrent):
        yield 0, module.reverse, True
        if module.bidirectional:
            yield 1, True, False
    else:
        yield 0, False, True
