"""Figures of traces, summaries and memories, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .extra import needed
from .summary import STATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .memory import Memory
    from .summary import Summary
    from .trace import Trace

COLORS = ("#1f5f8b", "#c2452d", "#5a8f3c", "#8a5aa8", "#b8860b", "#3c8f8a")
ROUND = (1, 2, 5, 10)


def plot_trace(
    trace: Trace, layers: Sequence[str], names: Sequence[str] | None, row: int, labels: Sequence[str] | None
) -> Figure:
    """Heat maps of one row of the batch: a column for each layer, a line for each value, units over steps."""
    found = list(dict.fromkeys(name for layer in layers for name in trace[layer]))
    names = found if names is None else [name for name in found if name in names]
    T = max(trace.shapes[layer][0] for layer in layers)
    width = min(16.0, 2 + len(layers) * max(4.0, min(8.0, T / 12)))
    figure, axes = _figure(len(names), len(layers), (width, 0.8 + 1.5 * len(names)))
    lowest = {layer: [name for name in names if name in trace[layer]][-1:] for layer in layers}
    for i, name in enumerate(names):
        for j, layer in enumerate(layers):
            ax = axes[i][j]
            if name not in trace[layer]:
                ax.axis("off")
                continue
            value = trace[layer][name][:, row].detach().cpu().float()  # (T, n)
            inside = trace.inside[layer]
            steps = len(value) if inside is None else int(inside[:, row].sum())
            image = ax.imshow(value[:steps].T.numpy(), aspect="auto", interpolation="nearest", **_scale(value, name))
            figure.colorbar(image, ax=ax, pad=0.01)
            ax.set_title(f"{layer}: {name}" if len(layers) > 1 else name, fontsize=9, loc="left")
            ax.set_ylabel("unit", fontsize=8)
            ax.tick_params(labelsize=7)
            _whole_numbers(ax.yaxis)
            _label_steps(ax, labels, steps)
            if name in lowest[layer] and labels is None:
                ax.set_xlabel("step", fontsize=8)
    return figure


def plot_summary(summary: Summary) -> Figure:
    """Left and right saturation of every unit by value; half-lives; the gradient of the loss by lag."""
    gates = list(dict.fromkeys(name for layer in summary.saturation.values() for name in layer))
    panels = len(gates) + bool(summary.half_life) + bool(summary.gradients)
    columns = min(4, max(1, panels))
    figure, grid = _figure(-(-max(1, panels) // columns), columns, (3.2 * columns, 3.0 * -(-max(1, panels) // columns)))
    axes = [ax for line in grid for ax in line]
    layers = list(dict.fromkeys(row.layer for row in summary.rows))
    color = {layer: COLORS[n % len(COLORS)] for n, layer in enumerate(layers)}
    for ax, gate in zip(axes, gates, strict=False):
        for layer in layers:
            if gate in summary.saturation.get(layer, {}):
                left, right = summary.saturation[layer][gate]
                ax.scatter(left, right, s=14, alpha=0.6, color=color[layer], label=layer, linewidths=0)
        ax.plot([0, 1], [1, 0], color="#999999", linewidth=0.7)
        ax.set(
            xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=gate, xlabel="steps left-saturated", ylabel="right-saturated"
        )
    rest = iter(axes[len(gates) :])
    if summary.half_life:
        ax = next(rest)
        for layer, half in summary.half_life.items():
            finite = half[half.isfinite() & (half > 0)].sort().values
            ax.plot(finite, (finite.argsort() + 1) / max(1, len(half)), color=color[layer], label=layer)
        ax.set(xscale="log", ylim=(0, 1.03), title="memory half-life", xlabel="steps", ylabel="share of units below")
        _few_ticks(ax)
    if summary.gradients:
        ax = next(rest)
        for layer, curve in summary.gradients.items():
            ax.plot(*_positive(curve), color=color[layer], label=layer)
        ax.set(yscale="log", title="gradient of the loss", xlabel="steps back", ylabel="norm")
        _whole_numbers(ax.xaxis)
    for ax in rest:
        ax.axis("off")
    _finish(axes)
    # a legend of the figure: no single panel has all layers where their cells differ
    named = {label: mark for ax in axes for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    named = {layer: named[layer] for layer in layers if layer in named}
    if named:
        columns = min(8, len(named))
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=columns, frameon=False, fontsize=8)
    return figure


def plot_memory(memory: Memory) -> Figure:
    """One line for each curve."""
    figure, ((ax,),) = _figure(1, 1, (7.0, 4.0))
    for n, (name, curve) in enumerate(memory.curves.items()):
        style: dict[str, Any] = {"color": COLORS[n % len(COLORS)], "label": name}
        if name.startswith("model"):
            style.update(color="#222222", linestyle="--" if name == "model" else ":")
        ax.plot(*_positive(curve), **style)
        if name in memory.errors:
            error = memory.errors[name].nan_to_num()
            low = (curve - error).clamp(min=curve / 10)  # a logarithmic axis has no zero
            ax.fill_between(range(len(curve)), low, curve + error, color=style["color"], alpha=0.15, linewidth=0)
    ax.set(yscale="log", xlabel="steps back", ylabel="gradient norm of the output")
    _finish([ax])
    _whole_numbers(ax.xaxis)
    ax.legend(frameon=False, fontsize=8)
    return figure


def _figure(lines: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure of its own, without pyplot: nothing to close, and no window."""
    backend = needed("matplotlib.backends.backend_agg", "plot")
    figure = needed("matplotlib.figure", "plot").Figure(figsize=size, layout="constrained")
    backend.FigureCanvasAgg(figure)
    return figure, figure.subplots(lines, columns, squeeze=False)


def _scale(value: Tensor, name: str) -> dict[str, Any]:
    """Gates from 0 to 1 in one hue, what has two signs in two around zero."""
    low, high = (float(value.min()), float(value.max())) if value.numel() else (0.0, 1.0)
    if low >= 0 and high <= 1 and name.split(" ")[0] not in STATES:
        return {"cmap": "viridis", "vmin": 0, "vmax": 1}
    bound = max(abs(low), abs(high)) or 1.0
    return {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}


def _label_steps(ax: Any, labels: Sequence[str] | None, steps: int) -> None:
    if labels is None:
        _whole_numbers(ax.xaxis)
    else:
        ax.set_xticks(range(steps), [str(label) for label in labels[:steps]], fontsize=6, fontfamily="monospace")
        ax.tick_params(axis="x", length=0)


def _whole_numbers(axis: Any) -> None:
    """Ticks where there is a step or a unit, not between two."""
    ticker = needed("matplotlib.ticker", "plot")
    axis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1, steps=ROUND))


def _few_ticks(ax: Any) -> None:
    """Ticks of a logarithmic axis that keep clear of each other, each with its number, however many decades it has."""
    ticker = needed("matplotlib.ticker", "plot")
    low, high = ax.get_xlim()
    if high < 5 * low:  # there may be but one of 1, 2, 5, 10
        ax.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=ROUND))
    else:
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")


def _positive(curve: Tensor) -> tuple[list[int], list[float]]:
    """Lags and norms that a logarithmic axis can show."""
    shown = [(k, norm) for k, norm in enumerate(curve.tolist()) if norm > 0]
    return [k for k, _ in shown], [norm for _, norm in shown]


def _finish(axes: Sequence[Any]) -> None:
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(10)
        ax.tick_params(labelsize=8)
