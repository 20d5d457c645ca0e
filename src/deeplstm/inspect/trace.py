"""Every gate and state of every layer at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..recurrence.call import name_of
from ..recurrence.state import detach
from .lags import frozen
from .losses import loss_by_lag
from .record import Recording
from .run import check_model, differentiable, recorded, split_result

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

    from .summary import Summary


class _Layer(dict[str, Tensor]):
    """A layer's values by name."""

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(f"the layer has no {name!r}, it has {', '.join(self)}")


class Trace(Mapping[str, Mapping[str, Tensor]]):
    """What `trace` found: layer name -> value name -> (T, B, n), zero beyond the lengths.

    Attributes:
        x: the input, as it was given. y: the model's output; state: what it returned beside it, or None.
        lengths: (B,), or None where every row has all steps.
        paths: layer name -> path of its module in the model, as ``named_modules`` has it.
        cells: layer name -> the cell that ran (for a drop-in the plain cell of its sizes, without weights).
        shapes: layer name -> (T, B).
        gradients: layer name -> (K,), the norm of the loss's gradient by lag, where a loss was given.
        inside: layer name -> (T, B) bool, the steps inside a row's length, or None where all are.
    """

    def __init__(
        self,
        recording: Recording,
        x: Any,
        lengths: Tensor | None = None,
        gradients: dict[str, Tensor] | None = None,
        grad: bool = False,
    ) -> None:
        sequences = recording.sequences
        y, state = split_result(recording.result)
        if not grad:
            y, state = _cut(y), _cut(state)
        self.x, self.y, self.state, self.lengths = x, y, state, lengths
        self.paths = {s.name: s.layer.path for s in sequences}
        self.cells: dict[str, Any] = {s.name: s.runs[0].step for s in sequences}
        self.inside = {s.name: s.inside() for s in sequences}
        self.gradients = gradients or {}
        self.shapes = {s.name: (s.steps, s.rows) for s in sequences}
        self._values = {
            s.name: MappingProxyType({n: v if grad else v.detach() for n, v in s.values().items()}) for s in sequences
        }

    def __getitem__(self, layer: str) -> Mapping[str, Tensor]:
        if layer not in self._values:
            raise KeyError(f"the trace has no {layer!r}, it has {', '.join(self._values)}")
        return _Layer(self._values[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_frame(self, layers: Sequence[str] | None = None, values: Sequence[str] | None = None) -> polars.DataFrame:
        """One row for each number, nothing beyond the lengths: layer, name, step, row (of the batch), unit, value."""
        from .frame import trace_frame

        return trace_frame(self, *self._chosen("to_frame", layers, values))

    def summary(self, *, dead_below: float = 1e-3) -> Summary:
        """Saturation, memory half-lives, dead units, the loss's gradient by lag: a `Summary`, which prints as a table.

        Args:
            dead_below: a unit is dead whose largest and smallest h lie closer than this.
        """
        from .summary import summarize

        return summarize(self, dead_below)

    def plot(
        self,
        layers: Sequence[str] | None = None,
        values: Sequence[str] | None = None,
        *,
        row: int = 0,
        labels: Sequence[str] | None = None,
    ) -> Figure:
        """Heat maps of units over steps: a matplotlib ``Figure``, shown by notebooks, written by ``savefig``.

        Args:
            layers, values: names of what to draw; None: all.
            row: of the batch.
            labels: one for each step, such as the characters of a text.
        """
        from .plot import plot_trace

        chosen, names = self._chosen("plot", layers, values)
        T, B = self.shapes[chosen[0]]
        if not 0 <= row < B:
            raise ValueError(f"plot got row={row!r}, but the batch has rows 0 to {B - 1}.")
        if labels is not None and len(labels) != T:
            raise ValueError(f"plot got {len(labels)} labels, but {T} are expected: one for each step.")
        return plot_trace(self, chosen, names, row, labels)

    def _chosen(self, what: str, layers: Any, values: Any) -> tuple[list[str], list[str] | None]:
        """Names of layers and values that are there."""
        for name, given in (("layers", layers), ("values", values)):
            if isinstance(given, str):
                raise ValueError(f"{what} got {name}={given!r}, but a list of names is expected: {name}=[{given!r}].")
        chosen = [layer for layer in self if self[layer]] if layers is None else list(layers)
        there = dict.fromkeys(name for layer in chosen for name in self[layer])
        if values is not None and (missing := [name for name in values if name not in there]):
            raise ValueError(f"{what} got values {', '.join(missing)}, but the trace has {', '.join(there)}.")
        return chosen, None if values is None else list(values)

    def __repr__(self) -> str:
        lines = []
        for layer, values in self.items():
            shown = ", ".join(f"{name} ({value.shape[-1]})" for name, value in values.items())
            T, B = self.shapes[layer]
            lines.append(f"{layer}: {name_of(self.cells[layer])}, {T} steps, {B} rows: {shown or 'nothing asked for'}")
        return "\n".join(lines)


def trace(
    model: nn.Module,
    x: Any,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    values: Sequence[str] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
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
        loss: a function of the model's output that gives one number, or one for each step and row, (T, B). Then
            ``gradients`` has, for every layer, the norm of the loss's gradient with respect to the layer's input by lag: for
            one number counted from each row's last step, for (T, B) of the loss of one step, from that step (a root mean
            square over rows, and over 8 steps drawn in each).
        grad: keep the graph, so that what is computed from the values has gradients.

    Shapes: values (T, B, n), time-major also where the model has ``batch_first``.
    Returns: a `Trace`: ``trace["layer 2"]["forget"]``.
    Raises: ValueError where no recurrent layer ran, or none has a value that is asked for; what the model raises.

    >>> import torch, deeplstm
    >>> seen = deeplstm.trace(deeplstm.LSTM(3, 4, num_layers=2), torch.zeros(5, 2, 3))
    >>> seen["layer 2"]["forget"].shape
    torch.Size([5, 2, 4])
    """
    check_model("trace", model)
    if isinstance(values, str):
        raise ValueError(f"trace got values={values!r}, but a list of names is expected: values=[{values!r}].")
    if loss is not None:
        model = differentiable(model)
    with nullcontext() if grad or loss is None else frozen(model):
        recording = recorded("trace", model, x, state, lengths, kwargs, values, grad or loss is not None)
        gradients = None
        if loss is not None:
            with torch.inference_mode(False), torch.enable_grad():
                gradients = loss_by_lag(loss(split_result(recording.result)[0]), recording.sequences, model)
    given = None if lengths is None else torch.as_tensor(lengths)
    return Trace(recording, x, given, gradients, grad)


def _cut(value: Any) -> Any:
    """What a model returned, without its graph, where it is made of tensors."""
    if isinstance(value, PackedSequence):
        return value._replace(data=value.data.detach())
    return detach(value) if _is_state(value) else value


def _is_state(value: Any) -> bool:
    return value is None or isinstance(value, Tensor) or (isinstance(value, tuple) and all(map(_is_state, value)))
