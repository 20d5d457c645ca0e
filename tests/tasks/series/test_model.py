import numpy as np
import pytest
import torch

import deeplstm
from deeplstm.errors import InputError
from deeplstm.tasks.network.config import Network
from deeplstm.tasks.series.config import SeriesModel
from deeplstm.tasks.series.model import build


def x(steps: int = 6, batch: int = 3, columns: int = 4) -> torch.Tensor:
    return torch.randn(steps, batch, columns, generator=torch.Generator().manual_seed(1))


MODELS = {
    "plain": {},
    "widths": {"widths": (6, 9)},
    "gru": {"cell": "gru", "layers": 2},
    "residual": {"skip": "residual", "width": 4},
    "before and after": {"before": (7,), "after": (5,), "layers": 2, "between": (3,)},
    "dropout": {"dropout": 0.3, "variational": True, "layers": 2},
    "inside": {"gate_layers": (6,), "deep_gates": ("forget",), "norm": True, "proj_size": 3},
}


@pytest.mark.parametrize("name", MODELS)
def test_an_untrained_network_says_as_now_and_learns(name):
    network = build(SeriesModel(**({"width": 8} if "widths" not in MODELS[name] else {}) | MODELS[name]), 4, (2, 0))
    predicted, state = network(x())
    assert torch.equal(predicted, x()[..., [2, 0]])
    for _ in range(2):  # at first the output's weights are zero, and no gradient passes them
        loss = (network(x(), deeplstm.detach(state))[0] - x()[..., [1, 3]]).square().mean()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.1 * parameter.grad
    assert not torch.equal(network(x())[0], predicted)
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad.abs().sum() > 0, parameter_name
    counts = network.parameter_counts()
    assert counts["core"] + counts["output"] == counts["total"] == sum(p.numel() for p in network.parameters())


def test_what_is_predicted_by_hand():
    """(1) and (2) of the docstring, with torch's own layers."""
    torch.manual_seed(0)
    network = build(SeriesModel(width=5), 3, (1,)).eval()
    torch.nn.init.normal_(network.output.weight)
    torch.nn.init.normal_(network.output.bias)
    lstm = torch.nn.LSTM(3, 5)
    cell = network.core.layers[0].cell
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(lstm, f"{name}_l0").data.copy_(getattr(cell, name))
    y, _ = lstm(x(columns=3))
    expected = x(columns=3)[..., 1:2] + y @ network.output.weight.T + network.output.bias
    torch.testing.assert_close(network(x(columns=3))[0], expected)


def test_two_windows_with_a_carried_state_are_one():
    network = build(SeriesModel(width=5, layers=2), 4, range(4)).eval()
    torch.nn.init.normal_(network.output.weight)
    whole, last = network(x())
    first, state = network(x()[:2])
    second, state = network(x()[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, last)


def test_init_leaves_the_output_at_zero():
    network = build(SeriesModel(width=20, init=0.05), 4, (0,))
    assert not network.output.weight.any()
    assert not network.output.bias.any()
    assert network.core.layers[0].cell.weight_ih.abs().max() <= 0.05


def test_the_targets_are_not_among_the_weights():
    network = build(SeriesModel(width=3), 2, (1,))
    assert [name for name in network.state_dict() if "target" in name] == []


def test_a_network_that_does_not_go_with_its_table():
    with pytest.raises(InputError, match="none of 5,8 does"):
        build(SeriesModel(width=8, skip="residual"), 5, (0,))
    network = build(SeriesModel(width=3), 2, (1,))
    for wrong in (x(columns=3), x()[0], x(columns=2).long()):
        with pytest.raises(ValueError, match=r"asks for \(T, B, 2\) in floats"):
            network(wrong)


def test_every_option_of_a_network_is_there():
    assert isinstance(SeriesModel(), Network)
    assert np.all([hasattr(SeriesModel(), name) for name in Network.__dataclass_fields__])
