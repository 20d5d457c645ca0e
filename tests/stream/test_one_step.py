"""What a stream takes a model's step from."""

import threading

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import deeplstm
from streams import CHUNKS, assert_streams

CLOSE = {"rtol": 1e-5, "atol": 1e-6}

pytestmark = pytest.mark.usefixtures("backend")


# ---------------------------------------------------------------- tensors that were computed and kept


def pruned():
    model = deeplstm.Stack(nn.Linear(3, 6), deeplstm.LSTMCell(6, 6))
    nn.utils.prune.random_unstructured(model.layers[0], "weight", 0.9)
    return model, model.layers[0].weight_orig


def pruned_cell():
    model = deeplstm.Stack(deeplstm.LSTMCell(3, 6))
    nn.utils.prune.random_unstructured(model.layers[0].cell, "weight_hh", 0.5)
    return model, model.layers[0].cell.weight_hh_orig


def weight_norm():
    model = deeplstm.Stack(nn.Linear(3, 6), deeplstm.LSTMCell(6, 6))
    nn.utils.weight_norm(model.layers[0])
    return model, model.layers[0].weight_g


def spectral_norm():
    model = deeplstm.Stack(nn.Linear(3, 6), deeplstm.LSTMCell(6, 6))
    nn.utils.spectral_norm(model.layers[0])
    model(torch.randn(2, 1, 3))
    return model, model.layers[0].weight_orig


class Keeps(nn.Module):
    """A cell that keeps what it computed last."""

    state_size = input_size = output_size = 3

    def __init__(self):
        super().__init__()
        self.linear, self.log = nn.Linear(3, 3), []

    def forward(self, x, h):
        self.last = torch.tanh(self.linear(x) + h)
        self.log = [{"last": self.last}]
        return self.last, self.last


def kept():
    model = deeplstm.Recurrent(Keeps())
    return model, model.cell.linear.weight


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("make", [pruned, pruned_cell, weight_norm, spectral_norm, kept])
def test_weights_that_are_computed(make):
    model, weight = make()
    x = torch.randn(7, 1, 3)
    stream = deeplstm.Stream(model)
    assert_streams(stream, x, CHUNKS[2], **CLOSE)
    with deeplstm.backend("reference"):
        model(x)[0].sum().backward()  # with gradients, in training mode: what is kept is kept anew
    with torch.no_grad():
        weight.mul_(1.5)
    stream.reset()
    assert_streams(stream, x, CHUNKS[0], **CLOSE)


def test_what_cannot_be_copied():
    model = deeplstm.Stack(deeplstm.LSTMCell(3, 6), nn.Tanh())
    model.layers[1].lock = threading.Lock()
    with pytest.raises(TypeError, match=r"a copy of Stack.*cannot be copied: .*lock.*Keep what cannot"):
        deeplstm.Stream(model)


# ---------------------------------------------------------------- steps take the place of a forward


class Twice(deeplstm.LSTM):
    def forward(self, *args, **kwargs):
        y, state = super().forward(*args, **kwargs)
        return 2 * y, state


class OtherStack(deeplstm.Stack):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class OtherRecurrent(deeplstm.Recurrent):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class OtherDropout(deeplstm.VariationalDropout):
    def forward(self, x):
        return 2 * super().forward(x)


def replaced():
    model = deeplstm.LSTM(3, 4)
    model.forward = lambda *args, **kwargs: None
    return model


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Twice(3, 4), "Twice"),
        (lambda: OtherStack(deeplstm.LSTMCell(3, 4)), "OtherStack"),
        (lambda: OtherRecurrent(deeplstm.LSTMCell(3, 4)), "OtherRecurrent"),
        (lambda: OtherRecurrent(Keeps()), "OtherRecurrent"),
        (lambda: deeplstm.Stack(nn.Linear(3, 3), deeplstm.Stack(Twice(3, 4))), r"layers\.1\.layers\.0"),
        (lambda: deeplstm.Stack(deeplstm.LSTMCell(3, 4), OtherDropout(0.5)), r"layers\.1"),
        (replaced, "LSTM"),
    ],
)
def test_a_forward_of_ones_own_is_refused(make, where):
    with pytest.raises(
        ValueError, match=f"one step at a time: {where} has a forward of its own, which steps would leave out"
    ):
        deeplstm.Stream(make())


def test_a_subclass_that_adds_no_forward_is_taken():
    class Small(deeplstm.LSTM):
        def __init__(self):
            super().__init__(3, 4)

    assert_streams(deeplstm.Stream(Small()), torch.randn(7, 1, 3), CHUNKS[1], **CLOSE)
    model = deeplstm.LSTM(3, 4)
    nn.utils.parametrizations.weight_norm(model, "weight_hh_l0")  # torch makes a class of its own for this
    assert_streams(deeplstm.Stream(model), torch.randn(7, 1, 3), CHUNKS[1], **CLOSE)


def test_hooks_on_what_runs_over_time_are_refused():
    model = deeplstm.Stack(deeplstm.LSTM(3, 4))
    nn.utils.prune.random_unstructured(model.layers[0], "weight_hh_l0", 0.5)
    with pytest.raises(ValueError, match=r"layers\.0 has forward hooks, which steps would leave out"):
        deeplstm.Stream(model)
    nn.utils.prune.remove(model.layers[0], "weight_hh_l0")
    assert_streams(deeplstm.Stream(model), torch.randn(7, 1, 3), CHUNKS[1], **CLOSE)
