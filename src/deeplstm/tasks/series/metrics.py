"""How well a network predicts a table, beside how well "as the row before" does."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deeplstm.errors import InputError
from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.series.scaler import Scaler

Rows = NDArray[np.float32]
"""A table in standard units: (rows, columns)."""
WINDOW = 512
"""Rows read at a time; a matter of memory, not of the result."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """The mean squared and the mean absolute error of predictions, in standard units; and of "as the row before".

    (1) mse = mean((predicted - true)^2)      (2) mae = mean(|predicted - true|)

    In standard units a standard deviation of the training rows is 1, so that saying their mean has an mse of about 1.
    """

    mse: float
    mae: float
    naive_mse: float
    naive_mae: float

    @property
    def share(self) -> float:
        """Mse as a share of naive_mse: below 1 the network has learned something. NaN where nothing ever changes."""
        return self.mse / self.naive_mse if self.naive_mse else math.nan


@dataclass(frozen=True, kw_only=True)
class TargetErrors(Errors):
    """The errors of one target; `own_mae` and `own_naive_mae` are the same mae in the column's own unit."""

    name: str
    own_mae: float
    own_naive_mae: float


@dataclass(frozen=True, kw_only=True)
class Score(Errors):
    """How well a table was predicted: the means over all predicted rows and targets, and those of each target."""

    rows: int
    """How many were predicted: all but the first."""
    targets: tuple[TargetErrors, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def evaluate(
    network: nn.Module, values: NDArray[Any], scaler: Scaler, *, progress: Callable[[int, int], None] | None = None
) -> Score:
    """Let a network predict every row of a table but the first from the rows before it, and compare.

    The state is carried from the first row to the last.

    Args:
        network: `(x (T, B, columns), state) -> (predictions (T, B, targets), state)`; it comes back in the mode it was in.
        values: the table, in its own units: `read_table(file, scaler.names).values`.
        scaler: what the network was trained with.
        progress: called with the rows predicted and the rows in all.

    Shapes: values (rows, columns).
    Raises: InputError for a table of fewer than two rows, of another width, or with numbers that float32 does not have.
    """
    return score_rows(network, scaler.standard(values), scaler, progress)


def score_rows(
    network: nn.Module, rows: Rows, scaler: Scaler, progress: Callable[[int, int], None] | None = None
) -> Score:
    """`evaluate`, of a table in standard units."""
    if len(rows) < 2:
        raise InputError(f"The table has {len(rows)} row, but a row is predicted from one before it: give two or more.")
    targets, state, total = list(scaler.targets), None, len(rows) - 1
    sums = np.zeros((4, len(targets)))
    device = next(network.parameters()).device
    for begin in range(0, total, WINDOW):
        end = min(begin + WINDOW, total)
        x = torch.from_numpy(np.array(rows[begin:end]))[:, None].to(device)  # (T, 1, columns)
        with evaluating(network):
            predicted, state = network(x, state)
        true, now = (rows[first : first + end - begin, targets].astype(np.float64) for first in (begin + 1, begin))
        error, naive = predicted[:, 0].double().cpu().numpy() - true, now - true
        sums += [(error**2).sum(0), abs(error).sum(0), (naive**2).sum(0), abs(naive).sum(0)]
        if progress:
            progress(end, total)
    mse, mae, naive_mse, naive_mae = means = sums / total  # (4, targets)
    each = tuple(
        TargetErrors(
            mse=float(mse[n]),
            mae=float(mae[n]),
            naive_mse=float(naive_mse[n]),
            naive_mae=float(naive_mae[n]),
            name=column.name,
            own_mae=float(mae[n]) * column.deviation,
            own_naive_mae=float(naive_mae[n]) * column.deviation,
        )
        for n, column in enumerate(scaler.target_columns)
    )
    names = ("mse", "mae", "naive_mse", "naive_mae")
    overall = dict(zip(names, means.mean(axis=1).tolist(), strict=True))
    return Score(**overall, rows=total, targets=each)
