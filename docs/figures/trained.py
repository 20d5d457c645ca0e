"""The gates of the network that the page trains, over one sequence."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from drawing import Drawing, Theme
from matplotlib.patches import Rectangle

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
    left, width, labels = 1.5, 7.2, 1.1
    whole = (-0.5, len(x) - 0.5)
    column = width / len(x)
    for t in steps:
        start, middle = left + t * column, left + (t + 0.5) * column
        if write[t] or read[t]:
            fill = theme.fill("c" if write[t] else "output", 0.2)
            d.page.add_patch(Rectangle((start, 0.42), column, 4.2, facecolor=fill, edgecolor="none", zorder=0))
        role, weight = ("text", "bold") if write[t] else ("quiet", "normal")
        d.text(middle, 4.42, "+" if x[t, 0] > 0 else "−", role, 12, fontweight=weight)
    d.text(labels, 4.42, "value", size=10, ha="right")
    for at, (role, words) in zip((0.1, 1.0), (("c", "write"), ("output", "read")), strict=True):
        d.page.plot([left + at], [4.83], "s", markersize=10, color=theme.fill(role, 0.45))
        d.text(left + at + 0.15, 4.82, words, role, 10, ha="left")

    for role, bottom in (("input", 3.52), ("forget", 2.82), ("output", 2.12)):
        axes = d.axes(left, bottom, width, 0.52)
        axes.fill_between(edges(steps), doubled(trace[role]), color=theme.color(role), alpha=0.25, linewidth=0)
        axes.plot(edges(steps), doubled(trace[role]), color=theme.color(role), linewidth=1.8)
        axes.set(xlim=whole, ylim=(-0.03, 1.08), yticks=[0, 1], xticks=[])
        d.text(labels, bottom + 0.26, f"{role} gate", role, 10, ha="right")

    axes = d.axes(left, 1.32, width, 0.6)
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    axes.plot(edges(steps), doubled(trace["c"]), color=theme.color("c"), linewidth=2.4)
    most = 1.25 * float(trace["c"].abs().max())
    axes.set(xlim=whole, ylim=(-most, most), yticks=[-1, 0, 1], xticks=[])
    d.text(labels, 1.62, "memory c", "c", 10, ha="right")

    axes = d.axes(left, 0.46, width, 0.66)
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    axes.plot(steps, target, "o", markersize=9, markerfacecolor="none", markeredgecolor=theme.quiet)
    axes.plot(steps, prediction, "o", markersize=4.5, color=theme.color("output"))
    axes.set(xlim=whole, ylim=(-1.45, 1.45), yticks=[-1, 0, 1], xticks=range(0, len(x), 4))
    d.text(labels, 0.9, "output", "output", 10, ha="right")
    d.text(labels, 0.7, "ring: target", "quiet", 8.5, ha="right")
    d.text(left + width / 2, 0.1, "step", "quiet", 9.5)
    return d


def edges(steps: range) -> list[float]:
    """Both ends of every step."""
    return [t + side for t in steps for side in (-0.5, 0.5)]


def doubled(values: torch.Tensor) -> list[float]:
    return values.repeat_interleave(2).tolist()
