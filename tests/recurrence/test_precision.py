"""Rounding: our error, measured against float64, is at most twice that of plain PyTorch at the same precision."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from checks import flat, gradients
from deeplstm import GRU, LSTM, RNN, LSTMCell, Recurrent, backend
from table import cells

KINDS = [LSTM, GRU, RNN]
T, B, I, H = 25, 6, 33, 31
LENGTHS = [25, 3, 17, 1, 25, 8]


def trained_on(net, x, call):
    """Results and all gradients, as float64."""
    results = call(net, x)
    return [value.detach().double() for value in (*flat(results), *gradients(results, [x, *net.parameters()]))]


def ours(net, x):
    return net(x, lengths=LENGTHS)


def torchs(net, x):
    y, state = net(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
    return pad_packed_sequence(y, total_length=T)[0], state


def errors(found, exact):
    return [float((a - b).abs().max()) for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_float32(name, kind):
    net = kind(I, H, 2, bidirectional=True)
    twin = getattr(torch.nn, kind.__name__)(I, H, 2, bidirectional=True)
    twin.load_state_dict(net.state_dict())
    x = torch.randn(T, B, I, requires_grad=True)
    with backend(name):
        found = trained_on(net, x, ours)
    plain = trained_on(twin, x, torchs)
    exact = trained_on(twin.double(), x.detach().double().requires_grad_(), torchs)
    for mine, theirs, value in zip(errors(found, exact), errors(plain, exact), exact, strict=True):
        rounding = torch.finfo(torch.float32).eps * float(value.abs().max())  # one unit, for a lucky peer
        assert mine <= 2 * theirs + rounding


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast(monkeypatch, name, kind):
    net = kind(I, H, 2)
    twin = getattr(torch.nn, kind.__name__)(I, H, 2)
    twin.load_state_dict(net.state_dict())
    x = torch.randn(T, B, I, requires_grad=True)

    def whole(module, x):
        return module(x)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        with backend(name):
            found = trained_on(net, x, whole)
        # oneDNN's LSTM raises under autocast on processors without bfloat16; torch's own does not
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", torch.ops.mkldnn._is_mkldnn_bf16_supported())
        plain = trained_on(twin, x, whole)
        monkeypatch.undo()
    exact = trained_on(twin.double(), x.detach().double().requires_grad_(), whole)
    for mine, theirs, value in zip(errors(found, exact), errors(plain, exact), exact, strict=True):
        assert mine <= 2 * theirs + torch.finfo(torch.bfloat16).eps * float(value.abs().max())


@cells()
def test_every_cell_runs_under_autocast_with_lengths_and_resets(case):
    layer = Recurrent(case.make(dtype=torch.float32).eval())
    x = torch.randn(5, 3, 3, requires_grad=True)
    resets = torch.rand(5, 3) < 0.3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x, lengths=[5, 0, 2], resets=resets)
        again, _ = layer(x, state)  # a state that came out of autocast goes in again
    exact, _ = layer(x, lengths=[5, 0, 2], resets=resets)
    assert (y.float() - exact).abs().max() < 0.1 * (1 + exact.abs().max())
    assert bool(again.isfinite().all())
    for gradient in gradients([y.float()], [x, *layer.parameters()]):
        assert gradient.dtype == torch.float32
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_layer_of_another_dtype_gives_that_dtype(dtype):
    layer = Recurrent(LSTMCell(3, 4, norm=True), bidirectional=True).to(dtype)
    y, state = layer(torch.randn(5, 2, 3, dtype=dtype), lengths=[5, 3])
    assert {value.dtype for value in (y, *flat(state))} == {dtype}
