"""loss.png: the curves of a training, drawn from metrics.csv."""

import io
from collections.abc import Sequence
from pathlib import Path

from deeplstm.training.files import write_atomic
from deeplstm.training.metrics import Row


def draw_curves(rows: Sequence[Row], path: Path, label: str) -> None:
    """Training and validation loss over the steps, the best validation marked; `label` says what a loss is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], color="#9db4c8", label="training")
    validated = [row for row in rows if "valid_loss" in row]
    steps, losses = [row["step"] for row in validated], [row["valid_loss"] for row in validated]
    axes.plot(steps, losses, color="#c2452d", marker="o", markersize=3, label="validation")
    if validated:
        best = min(validated, key=lambda row: row["valid_loss"])
        axes.axhline(best["valid_loss"], color="#c2452d", linewidth=0.5, linestyle=":")
        axes.set_title(f"best validation loss {best['valid_loss']:.4g} at step {best['step']:,}", fontsize=11)
        # The first steps fall from a height that would flatten everything of interest.
        top = max(losses[0], *(row["loss"] for row in rows[len(rows) // 20 :]))
        axes.set_ylim(top=top + 0.05 * (top - best["valid_loss"]) or None)
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())
