"""Every gate and state of every layer at every step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..recurrence.call import name_of
from .layers import foreign_layers
from .record import Recording, record


class Trace(Mapping[str, Mapping[str, Tensor]]):
    """What `trace` found: layer name -> value name -> (T, B, n), zero beyond the lengths.

    Attributes:
        x: the input, as it was given. y: the model's output; state: what it returned beside it, or None.
        lengths: (B,), or None where every row has all steps.
        paths: layer name -> path of its module in the model, as ``named_modules`` has it.
        cells: layer name -> the cell that ran (for a drop-in the plain cell of its sizes, without weights).
        inside: layer name -> (T, B) bool, the steps inside a row's length, or None where all are.
    """

    def __init__(self, recording: Recording, x: Any, y: Any, state: Any, lengths: Tensor | None, grad: bool) -> None:
        sequences = recording.sequences
        self.x, self.y, self.state, self.lengths = x, y, state, lengths
        self.paths = {s.name: s.layer.path for s in sequences}
        self.cells: dict[str, Any] = {s.name: s.runs[0].step for s in sequences}
        self.inside = {s.name: s.inside() for s in sequences}
        self._values = {
            s.name: MappingProxyType({n: v if grad else v.detach() for n, v in s.values().items()}) for s in sequences
        }

    def __getitem__(self, layer: str) -> Mapping[str, Tensor]:
        if layer not in self._values:
            raise KeyError(f"the trace has no {layer!r}, it has {', '.join(self._values)}")
        return self._values[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        lines = []
        for layer, values in self.items():
            shape = ", ".join(map(str, next(iter(values.values())).shape[:2])) if values else ""
            shown = ", ".join(f"{name} ({value.shape[-1]})" for name, value in values.items())
            lines.append(f"{layer}: {name_of(self.cells[layer])}, {shape} steps and rows: {shown}")
        return "\n".join(lines)


def trace(
    model: nn.Module,
    x: Any,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    values: Sequence[str] | None = None,
    grad: bool = False,
    **kwargs: Any,
) -> Trace:
    """Run a model once and show every gate and state of every recurrent layer in it, at every step.

    The values come from the kernels that the model runs on, in the same pass; no slow twin of the model is run. The model
    runs in the mode it is in (call ``model.eval()`` first to see it without dropout) and is as before afterwards.

    Layers are called "layer 1", "layer 2", ... in the order in which the model holds them, those that run from the end
    "layer 2 reverse"; a layer that the model uses again is "layer 1, call 2", unless it goes on from the state where it
    stopped: then the steps stand one after the other. Values have the names that the cell marks (`mark`): of an LSTM "input",
    "forget", "cell" (the candidate), "output", "c", "h"; of a GRU "reset", "update", "candidate", "h". Of a cell that does not
    mark them, its output is "h" and its states are "state", or "state 0", "state 1".

    Args:
        model: an `LSTM`, `GRU`, `RNN`, `Recurrent`, `Stack`, a cell, or any module that has such in it.
        x, state, kwargs: what the model is called with; the state only if it is given.
        lengths: handed to the model as ``lengths=``, if given.
        values: names of the values wanted; None: all.
        grad: keep the graph, so that what is computed from the values has gradients.

    Shapes: values (T, B, n), time-major also where the model has ``batch_first``.
    Returns: a `Trace`: ``trace["layer 2"]["forget"]``.
    Raises: ValueError where no recurrent layer ran, or none has a value that is asked for; what the model raises.

    >>> import torch, deeplstm
    >>> seen = deeplstm.trace(deeplstm.LSTM(3, 4, num_layers=2), torch.zeros(5, 2, 3))
    >>> seen["layer 2"]["forget"].shape
    torch.Size([5, 2, 4])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"trace got a model of type {type(model).__name__}, but an nn.Module is expected.")
    if isinstance(values, str):
        raise ValueError(f"trace got values={values!r}, but a list of names is expected: values=[{values!r}].")
    recording = recorded("trace", model, x, state, lengths, kwargs, values, grad)
    y, new = split_result(recording.result)
    return Trace(recording, x, y, new, None if lengths is None else torch.as_tensor(lengths), grad)


def recorded(
    what: str,
    model: nn.Module,
    x: Any,
    state: Any,
    lengths: Any,
    kwargs: dict[str, Any],
    values: Sequence[str] | None,
    grad: bool,
) -> Recording:
    """A model's one pass, called as layers are called: the state and the lengths only where they are given."""
    args = (x,) if state is None else (x, state)
    kwargs = kwargs if lengths is None else {**kwargs, "lengths": lengths}
    with torch.set_grad_enabled(grad):
        recording = record(model, *args, only=values, differentiable=grad, **kwargs)
    foreign = foreign_layers(model)
    if not recording.sequences:
        hint = (
            f"It has {', '.join(foreign)}: use deeplstm's class of that name, which loads the same state dict."
            if foreign
            else ("Give a model with LSTM, GRU, RNN, Recurrent or Stack in it.")
        )
        raise ValueError(f"{what}: no recurrent layer of deeplstm ran in {type(model).__name__}. {hint}")
    if foreign:
        warnings.warn(
            f"{what} does not see {', '.join(foreign)}: use deeplstm's class of that name, which loads the same state dict.",
            stacklevel=3,
        )
    return recording


def split_result(result: Any) -> tuple[Any, Any]:
    """What a model returns, as output and state."""
    if isinstance(result, tuple) and not hasattr(result, "batch_sizes") and len(result) >= 1:  # no packed sequence
        return result[0], result[1] if len(result) > 1 else None
    return result, None
