"""Tables that are made, not read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def wave(rows: int, seed: int = 0) -> NDArray[np.float64]:
    """Two columns in units of their own: an oscillation that noise pushes, and one that follows it a row later.

    The noise of the first has a standard deviation of 3, that of the second of 0.1: nobody predicts them better.
    """
    noise = np.random.default_rng(seed).normal(size=(rows, 2))
    a, b = np.zeros(rows), np.zeros(rows)
    for t in range(2, rows):
        a[t] = 1.6 * a[t - 1] - 0.9 * a[t - 2] + 0.3 * noise[t, 0]
        b[t] = 0.5 * b[t - 1] + 0.8 * a[t - 1] + 0.1 * noise[t, 1]
    return np.stack([500 + 10 * a, b], axis=1)


def write(path: Path, values: NDArray[np.float64]) -> Path:
    """As CSV, with a column of days that is no number."""
    lines = [",".join([f"day {n}", *map(repr, row)]) for n, row in enumerate(values.tolist())]
    path.write_text("\n".join(["day,a,b", *lines]) + "\n")
    return path
