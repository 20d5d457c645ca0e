"""Whether a series network should predict the change or the row itself.

    python -m benchmarks.series_output TABLE.csv

trains each kind with the default options and three seeds, and prints the validation errors, in standard units.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from deeplstm.tasks.series import SeriesConfig, SeriesTraining, train
from deeplstm.tasks.series.model import SeriesNetwork

SEEDS = (0, 1, 2)


class Plain(SeriesNetwork):
    """The same network with an output layer of its own start, whose output is the prediction."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.output.reset_parameters()

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        predicted, state = super().forward(x, state)
        return predicted - x[..., self.targets], state


@contextmanager
def kind(name: str) -> Iterator[None]:
    with patch("deeplstm.tasks.series.model.SeriesNetwork", {"change": SeriesNetwork, "plain": Plain}[name]):
        yield


def main(table: Path, training: dict[str, Any] | None = None) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"change": [], "plain": []}
    print("| output | seed | validation mse | as the row before |\n|---|---:|---:|---:|")
    for name, errors in found.items():
        for seed in SEEDS:
            options = SeriesTraining(**{"seed": seed, "threads": 1, "device": "cpu", **(training or {})})
            with tempfile.TemporaryDirectory() as folder, kind(name):
                score = train(table, Path(folder, "run"), SeriesConfig(training=options), quiet=True).valid
            errors.append(score.mse)
            print(f"| {name} | {seed} | {score.mse:.4f} | {score.naive_mse:.4f} |", flush=True)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
