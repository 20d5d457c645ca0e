import math

import numpy as np
import pytest
import torch
from torch import nn

from deeplstm.errors import InputError
from deeplstm.tasks.series import metrics
from deeplstm.tasks.series.config import SeriesModel
from deeplstm.tasks.series.metrics import evaluate
from deeplstm.tasks.series.model import build
from deeplstm.tasks.series.scaler import Column, Scaler

SCALER = Scaler((Column("a", 10.0, 2.0, True), Column("b", 0.0, 1.0, False), Column("c", 0.0, 4.0, True)), {})


class Says(nn.Module):
    """Predicts 1 for the first target and the row before for the second; counts its rows in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, state):
        state = (0 if state is None else state) + len(x)
        return torch.stack([torch.ones(x.shape[:2]), x[..., 2]], dim=-1), state


def test_scores_by_hand():
    values = np.array([[10, 5, 0], [12, 5, 4], [14, 5, 4.0]])  # in standard units: a 0, 1, 2; c 0, 1, 1
    score = evaluate(Says(), values, SCALER)
    a, c = score.targets
    assert (a.name, a.mse, a.mae, a.naive_mse, a.naive_mae) == ("a", 0.5, 0.5, 1, 1)
    assert (a.own_mae, a.own_naive_mae, a.share) == (1, 2, 0.5)
    assert (c.mse, c.mae, c.naive_mse, c.naive_mae, c.own_mae) == (0.5, 0.5, 0.5, 0.5, 2)
    assert (score.rows, score.mse, score.mae, score.naive_mse, score.naive_mae) == (2, 0.5, 0.5, 0.75, 0.75)
    assert score.share == pytest.approx(2 / 3)
    assert score.plain()["targets"][1]["name"] == "c"


def test_nothing_to_beat_where_nothing_changes():
    values = np.tile([10, 5, 0.0], (4, 1))
    assert math.isnan(evaluate(Says(), values, SCALER).share)


def test_the_state_is_carried_however_the_table_is_cut(monkeypatch: pytest.MonkeyPatch):
    network = build(SeriesModel(width=5), 3, SCALER.targets).train()
    nn.init.normal_(network.output.weight)
    values = np.random.default_rng(0).normal(size=(50, 3))
    whole = evaluate(network, values, SCALER)
    rows = []
    monkeypatch.setattr(metrics, "WINDOW", 7)
    cut = evaluate(network, values, SCALER, progress=lambda done, total: rows.append((done, total)))
    assert cut.mse == pytest.approx(whole.mse, rel=1e-6)
    assert cut.naive_mse == whole.naive_mse
    assert rows[0] == (7, 49)
    assert rows[-1] == (49, 49)
    assert network.training


def test_a_table_of_one_row():
    with pytest.raises(InputError, match=r"has 1 row, but a row is predicted from one before it"):
        evaluate(Says(), np.zeros((1, 3)), SCALER)
