"""What the pages about the runs of every task have in common."""

import math
from typing import Any

from deeplstm.inspect.report.collect import thin
from deeplstm.inspect.words import counted
from deeplstm.tasks.network.config import Network
from deeplstm.training.loop import columns
from deeplstm.training.metrics import MetricsFile, Row
from deeplstm.training.run_folder import Run


def loss_curves(run: Run, metrics: tuple[str, ...], label: str, words: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The curves, None for a run that is shared without them; and what is to be said about what they leave out.

    Args:
        metrics: what the task's problem measures.
        label: of the axis.
        words: for a loss in a sentence: "{} nats a character".
    """
    if not run.metrics.exists():
        return None, []
    rows = MetricsFile(run.metrics, columns(metrics)).read()
    train, valid = _finite(rows, "loss"), _finite(rows, "valid_loss")
    notes = []
    if lost := len(rows) - len(train) + sum("valid_loss" in row for row in rows) - len(valid):
        what = counted(lost, "loss", "losses")
        notes = [f"The curves leave out what is no finite number in {run.metrics.name}: {what}."]
    if not train:
        return None, notes
    steps, losses = zip(*train, strict=True)
    about = f"Training loss went from {losses[0]:.3g} to {losses[-1]:.3g} in {counted(steps[-1], 'step')}."
    if valid:
        step, best = min(valid, key=lambda point: point[1])
        about += f" Validation is best at step {step:,}, with {words.format(f'{best:.4g}')}."
    # the first steps fall from a height that would flatten everything of interest
    top = max([*losses[len(losses) // 20 :], *(loss for _, loss in valid[:1])])
    curves = {"train": _thinned(train), "valid": _thinned(valid)}
    return {"about": about, "label": label, "top": top, **curves}, notes


def _finite(rows: list[Row], name: str) -> list[tuple[float, float]]:
    """Steps and the losses there, those that a curve can have."""
    return [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]


def _thinned(points: list[tuple[float, float]]) -> dict[str, list[float]]:
    return {"x": thin([step for step, _ in points]), "y": thin([loss for _, loss in points])}


def described(model: Network) -> str:
    """A network in a few words."""
    names = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "highway": "highway"}
    widths = model.cell_widths
    layers = f"{len(widths)} layers" if len(widths) > 1 else "one layer"
    size = f"{widths[0]:,}" if len(set(widths)) == 1 else ", ".join(f"{width:,}" for width in widths)
    links = f", {model.skip} links" if model.skip != "none" else ""
    units = "unit" if set(widths) == {1} else "units"
    return f"{names[model.cell]}, {layers} of {size} {units}{links}"
