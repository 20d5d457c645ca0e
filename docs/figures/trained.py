"""The gates of the network that the page trains, over one sequence."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from drawing import Drawing, Theme

PAGE = Path(__file__).parents[1] / "how-it-works.md"
SECTION = "## What a trained model shows"


@cache
def network() -> dict[str, Any]:
    """The names that the page's own code leaves behind: what is drawn is what the text speaks of."""
    text = PAGE.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    names: dict[str, Any] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
            exec("import torch, deeplstm", names)
            for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
                exec(compile(block, PAGE.name, "exec"), names)
    finally:
        torch.set_num_threads(threads)
    return names


def trained(theme: Theme) -> Drawing:
    """Value, gates, cell state and output of one row, with its writes and reads."""
    names, row = network(), 3
    x, trace = names["x"][:, row], {name: values[:, row, 0] for name, values in names["trace"].items()}
    target, prediction = names["target"][:, row], names["prediction"][:, row]
    steps = range(len(x))
    write, read = x[:, 1] > 0, x[:, 2] > 0

    d = Drawing(theme, 9, 5.0)
    left, width = 1.5, 7.2
    panels = [("input gate", "input", 3.52), ("forget gate", "forget", 2.82), ("output gate", "output", 2.12)]
    column = width / len(x)

    def middle(t: int) -> float:
        return left + (t + 0.5) * column

    for t in steps:
        if write[t] or read[t]:
            role = "c" if write[t] else "output"
            d.page.axvspan(
                middle(t) - 0.5 * column, middle(t) + 0.5 * column, ymin=0.42 / 5, ymax=4.62 / 5,
                facecolor=theme.fill(role, 0.2), edgecolor="none", zorder=0,
            )  # fmt: skip
        role = "c" if write[t] else "output" if read[t] else "quiet"
        d.text(
            middle(t),
            4.42,
            "+" if x[t, 0] > 0 else "−",
            "text" if write[t] else "quiet",
            12,
            fontweight="bold" if write[t] else "normal",
        )
    d.text(left - 0.15, 4.42, "value", "text", 10, ha="right")
    for name, role, bottom in panels:
        axes = d.axes(left, bottom, width, 0.52)
        axes.fill_between(edges(steps), doubled(trace[role]), color=theme.color(role), alpha=0.25, linewidth=0)
        axes.plot(edges(steps), doubled(trace[role]), color=theme.color(role), linewidth=1.8)
        axes.set(xlim=(-0.5, len(x) - 0.5), ylim=(-0.03, 1.08), yticks=[0, 1], xticks=[])
        d.text(left - 0.4, bottom + 0.26, name, role, 10, ha="right")
    axes = d.axes(left, 1.32, width, 0.6)
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    axes.plot(edges(steps), doubled(trace["c"]), color=theme.color("c"), linewidth=2.4)
    most = 1.25 * float(trace["c"].abs().max())
    axes.set(xlim=(-0.5, len(x) - 0.5), ylim=(-most, most), yticks=[-1, 0, 1], xticks=[])
    d.text(left - 0.4, 1.62, "memory c", "c", 10, ha="right")
    axes = d.axes(left, 0.46, width, 0.66)
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    axes.plot(
        steps, target, "o", markersize=9, markerfacecolor="none", markeredgecolor=theme.quiet, markeredgewidth=1.2
    )
    axes.plot(steps, prediction, "o", markersize=4.5, color=theme.color("output"))
    axes.set(xlim=(-0.5, len(x) - 0.5), ylim=(-1.45, 1.45), yticks=[-1, 0, 1], xticks=range(0, len(x), 4))
    d.text(left - 0.4, 0.9, "output", "output", 10, ha="right")
    d.text(left - 0.4, 0.7, "ring: target", "quiet", 8.5, ha="right")
    d.text(left + width / 2, 0.1, "step", "quiet", 9.5)
    d.page.plot([left + 0.1], [4.83], "s", markersize=10, color=theme.fill("c", 0.45))
    d.text(left + 0.25, 4.82, "write", "c", 10, ha="left")
    d.page.plot([left + 1.0], [4.83], "s", markersize=10, color=theme.fill("output", 0.45))
    d.text(left + 1.15, 4.82, "read", "output", 10, ha="left")
    return d


def edges(steps: range) -> list[float]:
    """Both ends of every step."""
    return [t + side for t in steps for side in (-0.5, 0.5)]


def doubled(values: torch.Tensor) -> list[float]:
    return values.repeat_interleave(2).tolist()
