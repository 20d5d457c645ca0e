"""A table as something to train on: what `deeplstm.training.fit` asks for."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from deeplstm.tasks.series.choices import SeriesConfig
from deeplstm.tasks.series.metrics import Rows, score_rows
from deeplstm.tasks.series.model import SeriesNetwork
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.windows import Windows
from deeplstm.training.problem import Loss, State


class SeriesProblem:
    """Predict each row's targets from the rows before it; a target of the training is a row, with all its columns.

    (1) mean = mean((predicted - true)^2) over rows and target columns, in standard units
    (2) loss="sum-over-time": T * mean
    """

    metrics = ("loss", "mae")
    unit = "rows"

    def __init__(self, network: SeriesNetwork, train: Rows, valid: Rows, scaler: Scaler, config: SeriesConfig) -> None:
        self.network, self.scaler, self.options = network, scaler, config.training
        self.train = windows(train, config)
        self._valid = valid

    def loss(self, batch: tuple[Tensor, Tensor], state: State) -> Loss:
        rows, following = batch  # (T, B, columns) each
        predicted, state = self.network(rows, state)  # (T, B, targets)
        mean = F.mse_loss(predicted.float(), following[..., self.network.targets])  # (1)
        objective = mean * len(rows) if self.options.loss == "sum-over-time" else mean  # (2)
        return Loss(objective, mean, rows.shape[0] * rows.shape[1], state)

    def validate(self) -> dict[str, float]:
        """The score of the held-out rows, read as they will be: one after the other, from a zero state."""
        score = score_rows(self.network, self._valid, self.scaler)
        return {"loss": score.mse, "mae": score.mae}


def windows(train: Rows, config: SeriesConfig) -> Windows:
    """The training rows as batches; InputError where there are too few."""
    options = config.training
    return Windows(train, options.batch_size, options.window, dtype=np.float32, what=("training table", "row"))
