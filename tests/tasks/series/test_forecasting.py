import numpy as np
import pytest
import torch

from deeplstm.errors import InputError
from deeplstm.tasks.series import forecasting
from deeplstm.tasks.series.config import SeriesModel
from deeplstm.tasks.series.forecasting import forecast
from deeplstm.tasks.series.model import build
from deeplstm.tasks.series.scaler import Column, Scaler

SCALER = Scaler((Column("a", 10.0, 2.0, True), Column("b", -3.0, 0.5, True)), {})


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build(SeriesModel(width=5, dropout=0.5), 2, (0, 1)).train()
    torch.nn.init.normal_(network.output.weight, std=0.3)
    return network


def test_each_row_is_predicted_from_all_before_it(network, monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).normal([10, -3], [2, 0.5], (30, 2))
    monkeypatch.setattr(forecasting, "WINDOW", 7)
    found = forecast(network, values, SCALER, steps=4)
    assert network.training
    network.eval()
    whole = np.concatenate([values, found])
    with torch.no_grad():
        predicted, _ = network(torch.from_numpy(SCALER.standard(whole))[:, None])
    np.testing.assert_allclose(found, SCALER.own(predicted[29:33, 0].numpy()), rtol=1e-5)


def test_an_untrained_network_goes_on_as_now():
    untrained = build(SeriesModel(width=5), 2, (0, 1))
    found = forecast(untrained, np.array([[1.0, 2], [3, 4]]), SCALER, steps=3)
    np.testing.assert_allclose(found, [[3, 4]] * 3, rtol=1e-6)


def test_everything_wrong_at_once(network):
    partly = Scaler((SCALER.columns[0], Column("b", 0.0, 1.0, False)), {})
    with pytest.raises(InputError) as error:
        forecast(network, np.zeros((0, 2)), partly, steps=0)
    for part in ("steps=0, but a forecast has from 1 to 1,000,000", "reads b but does not predict it", "has no row"):
        assert part in str(error.value)


def test_a_forecast_that_runs_away(network):
    torch.nn.init.constant_(network.output.bias, 1e38)
    with pytest.raises(InputError, match=r"runs away: row \d is no finite number"):
        forecast(network, np.zeros((1, 2)), SCALER, steps=8)
