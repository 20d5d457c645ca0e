"""What the values of a trace have in common: saturation, memory half-lives, dead units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..cells.gru import GRUCell
from ..cells.highway import HighwayCell
from ..cells.lstm import LSTMCell
from ..cells.rnn import RNNCell
from .gate_words import nonlinearity
from .table import lines

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

    from .trace import Trace

STATES = ("h", "c", "y", "state")


@dataclass(frozen=True)
class Row:
    """One value of one layer, over its units, rows and steps.

    Attributes:
        left, right: the share of numbers that are saturated: below 0.1 or above 0.9 for a sigmoid, below -0.9 or above 0.9 for
            a tanh; NaN for what has no bounds.
    """

    layer: str
    name: str
    mean: float
    std: float
    low: float
    high: float
    left: float
    right: float


@dataclass(frozen=True, eq=False)
class Summary:
    """What `Trace.summary` found; prints as a table.

    Attributes:
        rows: one for each layer and value.
        saturation: layer -> value name -> (left, right), the share of steps each unit is saturated, (H,) both; only values
            that have bounds.
        half_life: layer -> (H,), steps after which half of a unit's memory is gone: -1 / (mean over time of log2 of the factor
            that keeps it); inf where it keeps everything. The factor is the forget gate of an LSTM, the update gate of a GRU,
            the product of the carry gates of a highway cell, what a cell of your own marks as "forget"; with zoneout, as much
            more as that keeps. Others have none.
        dead: layer -> (H,) bool, units whose h hardly moved: largest minus smallest value below ``dead_below``.
        gradients: layer -> (K,), the norm of a loss's gradient by lag, where the trace has it.
    """

    rows: list[Row]
    saturation: dict[str, dict[str, tuple[Tensor, Tensor]]]
    half_life: dict[str, Tensor]
    dead: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def to_frame(self) -> polars.DataFrame:
        """The rows as a table: layer, name, mean, std, low, high, left, right."""
        from .frame import summary_frame

        return summary_frame(self)

    def plot(self) -> Figure:
        """Saturation of every unit, half-lives, and the gradient by lag where there is one."""
        from .plot import plot_summary

        return plot_summary(self)

    def __repr__(self) -> str:
        head = ("layer", "value", "mean", "std", "low", "high", "saturated left", "right")
        numbers = [
            (
                r.layer,
                r.name,
                *(f"{v:.3f}" for v in (r.mean, r.std, r.low, r.high)),
                _percent(r.left),
                _percent(r.right),
            )
            for r in self.rows
        ]
        text = lines([head, *numbers], indent="")
        for layer, half in self.half_life.items():
            text.append(
                f"{layer}: memory half-life {half.mean():.3g} steps in the mean over units, {half.median():.3g} in the median, "
                f"{half.max():.3g} at most"
            )
        for layer, dead in self.dead.items():
            text.append(f"{layer}: {int(dead.sum())} of {len(dead)} units dead")
        for layer, curve in self.gradients.items():
            shown = ", ".join(f"{curve[k]:.2g} at {k}" for k in _lags(len(curve)))
            text.append(f"{layer}: gradient norm of the loss by lag {shown}")
        return "\n".join(text)


def summarize(trace: Trace, dead_below: float) -> Summary:
    """See `Trace.summary`."""
    rows: list[Row] = []
    saturation: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
    half_life: dict[str, Tensor] = {}
    dead: dict[str, Tensor] = {}
    for layer in trace:
        cell = trace.cells[layer]
        values = {name: _seen(value, trace.inside[layer]) for name, value in trace[layer].items()}
        for name, value in values.items():
            left, right = _saturated(value, _bounds(cell, name, value))
            if left is not None and right is not None:
                saturation.setdefault(layer, {})[name] = (left, right)
            rows.append(_row(layer, name, value, left, right))
        kept = _kept(cell, values)
        if kept is not None:
            half_life[layer] = _half_life(kept)
        h = values.get("h", values.get("y"))
        if h is not None and len(h) > 1:
            dead[layer] = h.amax(0) - h.amin(0) < dead_below
    return Summary(rows, saturation, half_life, dead, dict(trace.gradients))


def _seen(value: Tensor, inside: Tensor | None) -> Tensor:
    """The numbers inside the lengths. Shapes: (T, B, n) -> (N, n)."""
    value = value.detach().cpu().double()
    return value.flatten(0, 1) if inside is None else value[inside.cpu()]


def _row(layer: str, name: str, value: Tensor, left: Tensor | None, right: Tensor | None) -> Row:
    nan = float("nan")
    if not value.numel():
        return Row(layer, name, nan, nan, nan, nan, nan, nan)
    numbers = [value.mean(), value.std(correction=0), value.min(), value.max()]
    shares = [nan if share is None else float(share.mean()) for share in (left, right)]
    return Row(layer, name, *map(float, numbers), *shares)


def _bounds(cell: Any, name: str, value: Tensor) -> tuple[float, float] | None:
    """The bounds of a value: by the cell's equations, or, of a cell of one's own, by what was seen."""
    if isinstance(cell, RNNCell):
        return (-1.0, 1.0) if cell.nonlinearity == "tanh" and name == "h" else None
    if name.split(" ")[0] in STATES:
        return None
    known = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(nonlinearity(cell, name))
    if known is not None or not value.numel() or float(value.abs().max()) > 1:
        return known
    return (0.0, 1.0) if float(value.min()) >= 0 else (-1.0, 1.0)


def _saturated(value: Tensor, bounds: tuple[float, float] | None) -> tuple[Tensor | None, Tensor | None]:
    """The share of numbers of every unit that lie within 0.1 of a bound. Shapes: (N, n) -> (n,), (n,)."""
    if bounds is None or not len(value):
        return None, None
    low, high = bounds
    return (value < low + 0.1).double().mean(0), (value > high - 0.1).double().mean(0)


def _kept(cell: Any, values: Mapping[str, Tensor]) -> Tensor | None:
    """The factor that keeps each unit's memory from one step to the next, (N, H)."""
    if isinstance(cell, GRUCell):
        kept, zoneout = values.get("update"), cell.zoneout_h
    elif isinstance(cell, HighwayCell):
        carries = [values.get(f"carry {m}") for m in range(cell.micro_steps)]
        there = [carry for carry in carries if carry is not None]
        kept = torch.stack(there).prod(0) if len(there) == len(carries) else None
        zoneout = cell.zoneout_h
    else:
        kept, zoneout = values.get("forget"), cell.zoneout_c if isinstance(cell, LSTMCell) else 0.0
    if kept is None or not kept.numel() or float(kept.min()) < 0:
        return None
    return zoneout + (1 - zoneout) * kept


def _half_life(kept: Tensor) -> Tensor:
    """What is kept after n steps is the product of n factors, 2^(n * mean log2). Shapes: (N, H) -> (H,)."""
    mean = kept.log2().mean(0)
    return torch.where(mean < 0, -1 / mean, torch.inf)


def _percent(share: float) -> str:
    return "" if share != share else f"{100 * share:.1f} %"


def _lags(count: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... below a number."""
    found = [0] + [m * 10**e for e in range(9) for m in (1, 2, 5)]
    return [k for k in found if k < count]
