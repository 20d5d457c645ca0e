"""Noticing that a model has changed."""

import pytest
import torch
from torch import nn

import deeplstm
from streams import whole

CLOSE = {"rtol": 1e-5, "atol": 1e-6}

pytestmark = pytest.mark.usefixtures("backend")


def model():
    return deeplstm.Stack(deeplstm.LSTMCell(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))


def appended(model):
    model.layers[1].append(nn.Linear(3, 7))


def child_of_a_leaf(model):
    model.layers[1][1].add_module("extra", nn.Linear(3, 3))


def hooked_child(model):
    model.layers[1][1].register_forward_hook(lambda module, given, y: 2 * y)


def hooked_before(model):
    model.layers[0].cell.register_forward_pre_hook(lambda module, given: None)


def hooked_model(model):
    model.register_forward_hook(lambda module, given, y: None)


def parameter(model):
    model.layers[1][1].gain = nn.Parameter(torch.ones(3))


def buffer(model):
    model.layers[1][0].register_buffer("scale", torch.ones(3))


def link(model):
    model.skip = "dense"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (appended, r"layers\.1\.2 is new; layers\.1\.2\.weight is new"),
        (child_of_a_leaf, r"layers\.1\.1\.extra is new"),
        (hooked_child, r"layers\.1\.1 is Tanh with forward hook \d+, was Tanh"),
        (hooked_before, r"layers\.0\.cell is LSTMCell with forward hook \d+, was LSTMCell"),
        (hooked_model, r"the model is Stack with forward hook \d+, was Stack"),
        (parameter, r"layers\.1\.1\.gain is new"),
        (buffer, r"layers\.1\.0\.scale is new"),
        (link, "the model is Stack with skip='dense', was Stack"),
    ],
)
def test_a_model_that_has_become_another_one_is_refused(change, says):
    net, x = model(), torch.randn(1, 3)
    stream = deeplstm.Stream(net)
    stream.step(x)
    before = stream.state
    change(net)
    calls = [lambda: stream.step(x), lambda: stream.step(x.numpy()), lambda: stream.feed(x[None]), stream.refresh]
    for call in calls:
        with pytest.raises(ValueError, match=says):
            call()
    for now, then in zip(stream.state[0], before[0], strict=True):
        assert torch.equal(now, then)


def test_hooks_that_went_are_noticed():
    net, x = model(), torch.randn(2, 1, 3)
    handle = net.layers[1][1].register_forward_hook(lambda module, given, y: 2 * y)
    stream = deeplstm.Stream(net)
    torch.testing.assert_close(stream.feed(x), whole(net, x)[0], **CLOSE)
    handle.remove()
    with pytest.raises(ValueError, match=r"layers\.1\.1 is Tanh, was Tanh with forward hook"):
        stream.step(x[0])
    torch.testing.assert_close(deeplstm.Stream(net).feed(x), whole(net, x)[0], **CLOSE)


def test_a_model_that_is_as_it_was_runs_on():
    net, x = model(), torch.randn(2, 1, 3)
    stream = deeplstm.Stream(net)
    expected = whole(net, x)[0]
    torch.testing.assert_close(stream.step(x[0]), expected[0], **CLOSE)
    handle = net.layers[1].register_forward_hook(lambda module, given, y: 2 * y)
    with pytest.raises(ValueError, match="Make a new Stream"):
        stream.step(x[1])
    handle.remove()
    torch.testing.assert_close(stream.step(x[1]), expected[1], **CLOSE)
