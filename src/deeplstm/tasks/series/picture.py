"""predictions.png: the end of the validation rows, with what the network predicted for each of them."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch

from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.series.metrics import Rows
from deeplstm.tasks.series.model import SeriesNetwork
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.summary import visible
from deeplstm.training.files import write_atomic

ROWS = 200
"""Rows that are drawn, at most: of more nobody could tell two lines apart."""
READ = 1000
"""Rows that are read before them, at most, to know where the series is."""
TARGETS = 8
"""Targets that are drawn, at most."""


def draw_predictions(network: SeriesNetwork, rows: Rows, scaler: Scaler, path: Path) -> None:
    """A panel for each target: its true numbers, and each as it was predicted from the rows before it, in its own unit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = np.array(rows[-(ROWS + READ + 1) :])
    with evaluating(network):
        predicted, _ = network(torch.from_numpy(last[:-1])[:, None])
    drawn = min(ROWS, len(last) - 1)
    pairs = (last[1:, list(scaler.targets)], predicted[:, 0].numpy())
    true, expected = (scaler.own(values[-drawn:]) for values in pairs)  # (drawn, targets)
    count = min(TARGETS, len(scaler.targets))
    figure = Figure(figsize=(10, 1.6 + 1.5 * count), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(count, sharex=True, squeeze=False)[:, 0]
    numbers = np.arange(len(rows) - drawn, len(rows)) + 1
    for n, (axes, column) in enumerate(zip(panels, scaler.target_columns, strict=False)):
        axes.plot(numbers, true[:, n], color="#9db4c8", linewidth=2.2, label="true")
        axes.plot(numbers, expected[:, n], color="#c2452d", linewidth=1.0, label="predicted from the rows before")
        name = visible(column.name)
        axes.set_ylabel(name if len(name) <= 20 else name[:20] + "…", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    left_out = len(scaler.targets) - count
    title = f"the last {drawn:,} validation rows" + (f"; {left_out} more targets are not shown" if left_out else "")
    panels[0].set_title(title, fontsize=11, loc="left")
    panels[0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98), fontsize=9)
    panels[-1].set_xlabel("validation row")
    panels[-1].xaxis.set_major_formatter("{x:,.0f}")
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a name that the font cannot write: it has boxes for it
        figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())
