"""A page about a model that reads numbers over time: `report`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import InputError
from ...nn.recurrent import Recurrent
from ...recurrence.call import is_cell
from ..run import check_model, is_batch_first
from ..trace import Trace, trace
from ..words import counted
from .collect import MOST_STEPS, Curve, Traced, affordable_steps, collect, memory_curves, thin
from .network import source_block
from .page import render, write

MOST_INPUTS, MOST_OUTPUTS = 32, 8
"""Curves of a page, at most."""
MOST_NUMBERS = 100_000
"""Numbers that all curves of a page have, at most."""


@torch.inference_mode(False)  # there would be no gradients to say how far back the model looks
def report(
    model: nn.Module,
    x: Tensor | NDArray[Any],
    out: str | os.PathLike[str] = "report.html",
    *,
    row: int = 0,
    channels: Sequence[str] | None = None,
    times: Sequence[Any] | None = None,
    steps: int = 2000,
    losses: Sequence[float] | None = None,
    title: str | None = None,
) -> Path:
    """Write one page, complete in itself, that shows what a model does with one sequence of numbers.

    The page has the channels of the sequence as curves over time, in the colours of any unit, gate and layer; the units that go
    along with a channel; heat maps, saturation, the weights of every gate, how far back the model looks, and a diagram of
    the network. It opens in a browser, offline.

    The model runs in evaluation mode and is as before afterwards.

    Args:
        model: an `LSTM`, `GRU`, `RNN`, `Recurrent`, `Stack`, a cell, or any module that has such in it and is called with x
            alone; in one direction or both.
        x: what it reads. One row of it is shown.
        out: the HTML file; it is replaced if it exists.
        row: of the batch.
        channels: names of the input's channels, I of them; None: "channel 0", "channel 1", ...
        times: what each of the T steps is called, such as its date; None: its number.
        steps: of the row, at most: from 1 to 10,000. A note on the page says what was cut.
        losses: of the training, one number for each of its steps, to be drawn.
        title: None: the name of the model's class.

    Shapes: x (T, B, I), (B, T, I) where the model has ``batch_first``, or (T, I) for one row; whole numbers without the I.
    Returns: the path of the page.
    Raises: TypeError and ValueError for what is not that; InputError where the model gives NaN or infinite values, or the page
        cannot be written. Then no page is written, and one that was there is as it was.

    >>> import torch, deeplstm, tempfile, pathlib
    >>> net = deeplstm.Stack(deeplstm.LSTMCell(2, 8), torch.nn.Linear(8, 1))
    >>> x = torch.randn(50, 4, 2)
    >>> page = deeplstm.report(net, x, pathlib.Path(tempfile.mkdtemp()) / "report.html", channels=["wind", "sun"])
    >>> page.name
    'report.html'
    """
    check_model("report", model)
    channels, times = (given if given is None or isinstance(given, str) else list(given) for given in (channels, times))
    kind = type(model).__name__
    model = Recurrent(model) if is_cell(model) else model
    whole = _one_row(model, x, row)  # (T,) or (T, I)
    _check(whole, channels, times, steps)
    path = Path(out)
    if not path.parent.is_dir():
        raise InputError(
            f"{path}: there is no folder {path.parent} to write a page into. Make it, or give another path."
        )
    with _evaluating(model):
        wanted = min(steps, affordable_steps(model, _batch(model, whole[:16])))
        shown = whole[:wanted]
        seen = trace(model, _batch(model, shown))
        layers = _step_by_step(seen, len(shown))
        outputs = _outputs(seen, model, len(shown), channels or ())
        curves = [*_inputs(shown, channels, len(outputs)), *outputs]
        data = collect(
            model,
            layers,
            [str(time) for time in times or ()][:wanted],
            title=kind if title is None else title,
            about="",
            unit="step",
            curves=curves,
            memory=memory_curves(model, shown, "step"),
            loss=None if losses is None else _losses(losses),
        )
    count, width = data["steps"]["count"], shown[0].numel()
    what = f"{counted(count, 'step')} of {counted(width, 'channel')}"
    data["about"] = f"{kind}, reading " + ("the first " if count < len(whole) else "") + what
    left_out = [layer for layer in seen if layer not in layers]
    data["notes"] = _notes(
        len(whole), count, count < min(steps, len(whole)), width, len(curves) - len(outputs), left_out
    )
    data["facts"] = [["parameters", f"{sum(p.numel() for p in model.parameters()):,}"], ["this sequence", what]]
    data["network"] = [_input(width, whole), *data["network"]]
    return write(render(data), path)


def _one_row(model: nn.Module, x: Any, row: Any) -> Tensor:
    """The row that is shown, (T, I), or (T,) of whole numbers."""
    if isinstance(x, np.ndarray):
        try:
            x = torch.from_numpy(np.array(x))
        except (TypeError, ValueError) as error:
            raise TypeError(f"report got x of {x.dtype}, which torch does not have: {error}") from None
    if not isinstance(x, Tensor):
        raise TypeError(
            f"report got x of type {type(x).__name__}, but a torch tensor or a NumPy array (T, B, I) is expected."
        )
    x = x.detach().clone() if x.is_inference() else x.detach()
    last = "" if _is_whole(x) else ", I"
    wanted = f"(B, T{last})" if is_batch_first(model) else f"(T, B{last})"
    dims = 2 if _is_whole(x) else 3
    if x.dim() == dims - 1:
        x = x.unsqueeze(0 if is_batch_first(model) else 1)
    if x.dim() != dims:
        hint = " of whole numbers; convert x to the model's dtype if they are measured ones" if _is_whole(x) else ""
        raise ValueError(
            f"report got x of {_name(x.dtype)} and shape {tuple(x.shape)}, but {wanted} or (T{last or ','}) is expected{hint}."
        )
    if is_batch_first(model):
        x = x.transpose(0, 1)
    T, B = x.shape[:2]
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < B:
        raise ValueError(f"report got row={row!r}, but the batch has {B} rows: a number from 0 to {B - 1} is expected.")
    if not T or not x[:, row].numel():
        raise ValueError(f"report got x of shape {tuple(x.shape)}, as (T, B{last}): there is nothing in it to show.")
    real = next((p for p in model.parameters() if p.is_floating_point()), None)
    if real is not None and not _is_whole(x) and x.dtype != real.dtype:
        raise ValueError(
            f"report got x of {_name(x.dtype)}, the model's {_name(real.dtype)} is expected: convert one of them."
        )
    return x[:, row]


def _check(x: Tensor, channels: Any, times: Any, steps: Any) -> None:
    """Shapes: x (T, I) or (T,)."""
    complaints = []
    width = x[0].numel()
    for name, given, count, one in (("channels", channels, width, "channel"), ("times", times, len(x), "step")):
        if given is not None and (isinstance(given, str) or len(given) != count):
            many = f"the text {given!r}" if isinstance(given, str) else f"{len(given)} names"
            complaints.append(f"{name} is {many}, {count} are expected: one for each {one}")
    if channels is not None and not isinstance(channels, str) and len(set(map(str, channels))) < len(channels):
        complaints.append("channels has a name twice, so that nobody could tell which is meant")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_STEPS:
        complaints.append(f"steps={steps!r} is given, a whole number from 1 to {MOST_STEPS:,} is expected")
    if not _is_whole(x) and not (finite := x.isfinite().flatten(1).all(1)).all():
        complaints.append(f"x is NaN or infinite at step {int(finite.int().argmin())}, numbers are expected")
    if complaints:
        raise ValueError(f"report: {'; '.join(complaints)}.")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_whole(x: Tensor) -> bool:
    return not x.is_floating_point()


def _batch(model: nn.Module, x: Tensor) -> Tensor:
    """One row as the model reads it."""
    return x.unsqueeze(0 if is_batch_first(model) else 1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode inside, and in its own afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _step_by_step(seen: Trace, T: int) -> Traced:
    """The layers that have T steps of one row."""
    layers = {layer: values for layer, values in seen.items() if seen.shapes[layer] == (T, 1)}
    if not layers:
        raise ValueError(f"report: no recurrent layer of the model takes the {T} steps of the row as they come.")
    return layers


def _inputs(x: Tensor, channels: Sequence[str] | None, others: int) -> list[Curve]:
    """Shapes: x (T, I), or (T,) of whole numbers. `others`: curves that a page has besides."""
    values = x.reshape(len(x), -1).T.double().cpu().numpy()  # (I, T)
    most = max(1, min(MOST_INPUTS, MOST_NUMBERS // len(x) - others))
    names = [str(name) for name in channels] if channels is not None else [f"channel {n}" for n in range(len(values))]
    return [Curve(name, "input", of) for name, of in zip(names[:most], values, strict=False)]


def _outputs(seen: Trace, model: nn.Module, T: int, taken: Sequence[str]) -> list[Curve]:
    """What the model gives at every step, where that is few numbers and not just the h of its units."""
    y = seen.y
    if not isinstance(y, Tensor) or y.dim() not in (2, 3) or y.is_complex():
        return []
    y = y.transpose(0, 1) if is_batch_first(model) else y  # (T, 1, ...)
    if y.shape[:2] != (T, 1):
        return []
    values = y.reshape(T, -1).T.double().cpu().numpy()  # (O, T)
    if not 0 < len(values) <= MOST_OUTPUTS or not np.isfinite(values).all():
        return []
    states = [value[:, 0].T.double().cpu().numpy() for named in seen.values() for value in named.values()]
    if any((values[0] == units).all(axis=1).any() for units in states):
        return []
    names = [f"output {n}" for n in range(len(values))] if len(values) > 1 else ["output"]
    return [
        Curve(f"{name} of the model" if name in taken else name, "output", of)
        for name, of in zip(names, values, strict=True)
    ]


def _notes(T: int, count: int, is_full: bool, width: int, inputs: int, left_out: list[str]) -> list[str]:
    """What is not on the page, in words."""
    notes = []
    if count < T:
        why = ": a page holds no more of them with all values of all units" if is_full else ""
        notes.append(f"Of {counted(T, 'step')} the first {count:,} {'is' if count == 1 else 'are'} shown{why}.")
    if inputs < width:
        notes.append(f"Of {width:,} channels the first {inputs:,} are shown as curves.")
    if left_out:
        notes.append(f"Not shown, since they do not take every step of the row as it comes: {', '.join(left_out)}.")
    return notes


def _losses(losses: Sequence[float]) -> dict[str, Any]:
    values = np.asarray([float(loss) for loss in losses])
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("report got losses that are none, NaN or infinite, but a number for each step is expected.")
    y = thin(values.tolist())
    x = [round(step) for step in np.linspace(1, len(values), len(y))]
    return {
        "about": f"Training loss went from {values[0]:.3g} to {values[-1]:.3g} in {counted(len(values), 'step')}.",
        "label": "loss",
        "top": float(
            values[len(values) // 20 :].max()
        ),  # the first steps fall from a height that would flatten the others
        "train": {"x": x, "y": y},
        "valid": {"x": [], "y": []},
    }


def _input(width: int, x: Tensor) -> dict[str, Any]:
    if _is_whole(x):
        return source_block("x", "whole numbers")
    return source_block("x", counted(width, "channel"), gives=f"{width:,}")
