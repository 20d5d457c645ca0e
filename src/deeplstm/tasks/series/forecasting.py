"""Going on with a table: each predicted row is read as if it had come."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deeplstm.errors import InputError
from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.series.metrics import WINDOW
from deeplstm.tasks.series.scaler import Scaler

MOST_STEPS = 1_000_000


def forecast(network: nn.Module, values: NDArray[Any], scaler: Scaler, *, steps: int) -> NDArray[np.float64]:
    """Predict the rows that follow a table: the first from the table, each later one from what was predicted before it too.

    A network is trained to predict one row ahead. Its errors add up over many: how fast is for the data to say.

    Args:
        network: `(x (T, B, columns), state) -> (predictions (T, B, targets), state)`; it comes back in the mode it was in.
        values: the table, in its own units: `read_table(file, scaler.names).values`.
        scaler: what the network was trained with. Every column has to be a target.
        steps: rows to predict, from 1 to a million.

    Shapes: values (rows, columns) -> (steps, columns), in the table's own units.
    Raises: InputError with everything that is wrong: steps, columns that are not predicted, an empty table; for a forecast that
        runs away beyond all numbers.
    """
    complaints = []
    if not 1 <= steps <= MOST_STEPS:
        complaints.append(f"steps={steps}, but a forecast has from 1 to {MOST_STEPS:,} rows: give a number of these")
    if unknown := [column.name for column in scaler.columns if not column.target]:
        complaints.append(
            f"the network reads {', '.join(unknown)} but does not predict it, so there is nothing to read after the first row: "
            "train one that predicts every column it reads"
        )
    if not len(values):
        complaints.append("the table has no row, but a forecast goes on from one: give a table with rows")
    if complaints:
        raise InputError("; ".join(complaints) + ".")
    rows = scaler.standard(values)
    device = next(network.parameters()).device
    found, state = [], None
    with evaluating(network):
        for begin in range(0, len(rows), WINDOW):
            x = torch.from_numpy(rows[begin : begin + WINDOW])[:, None].to(device)  # (T, 1, columns)
            predicted, state = network(x, state)
        found.append(predicted[-1:])  # (1, 1, columns)
        for _ in range(steps - 1):
            predicted, state = network(found[-1], state)
            found.append(predicted)
    standard = torch.cat(found)[:, 0].cpu().numpy()  # (steps, columns)
    if not (finite := np.isfinite(standard).all(axis=1)).all():
        raise InputError(
            f"The forecast runs away: row {int(finite.argmin()) + 1} is no finite number. Ask for fewer steps."
        )
    return scaler.own(standard)
