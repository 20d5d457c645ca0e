"""`Trace.summary`: numbers known beforehand, from networks whose gates stand where we put them."""

import math

import pytest
import torch
from torch import nn

from deeplstm import GRU, LSTM, GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell, mark, trace

x = torch.randn(20, 3, 2)


def with_gates(layer, /, **values):
    """A cell whose gates have one value whatever they read: its weights are zero, its biases say what."""
    H = layer.hidden_size
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        for gate, value in values.items():
            n = layer.gate_names.index(gate)
            layer.bias_ih[n * H :][:H] = torch.as_tensor(value).logit() if gate not in ("cell", "candidate") else value
    return Recurrent(layer.eval())


@pytest.mark.parametrize(("forget", "steps"), [(0.5, 1), (0.25, 0.5), (2 ** (-1 / 7), 7)])
def test_half_life_of_a_forget_gate(forget, steps):
    summary = trace(with_gates(LSTMCell(2, 4), forget=forget), x).summary()
    torch.testing.assert_close(summary.half_life["layer 1"], torch.full((4,), float(steps)).double(), rtol=1e-5, atol=0)
    assert f"layer 1: memory half-life {steps} steps in the mean over units" in str(summary)


def test_half_life_is_of_the_product_over_time():
    """A gate that alternates between 1/2 and 1/8 keeps 1/4 a step in the mean: half a step, and not the mean of two."""

    class Alternating(nn.Module):
        state_size = 1

        def forward(self, x, state):
            f = mark(torch.where(x > 0, 0.5, 0.125), "forget")
            return f * state, f * state

    sign = torch.tensor([1.0, -1.0] * 10).view(20, 1, 1)
    summary = trace(Recurrent(Alternating()), sign).summary()
    torch.testing.assert_close(summary.half_life["layer 1"], torch.tensor([0.5], dtype=torch.float64))


def test_half_life_of_other_cells_and_with_zoneout():
    half = trace(with_gates(GRUCell(2, 4), update=0.5), x).summary().half_life["layer 1"]
    torch.testing.assert_close(half, torch.ones(4).double())
    zoned = trace(with_gates(LSTMCell(2, 4, zoneout=(0.0, 0.5)), forget=0.5), x).summary().half_life["layer 1"]
    torch.testing.assert_close(zoned, torch.full((4,), -1 / math.log2(0.75)).double())
    highway = Recurrent(HighwayCell(2, 4, micro_steps=2, transform_bias=None).eval())
    with torch.no_grad():
        for p in highway.parameters():
            p.zero_()  # carry = 1/2, twice
    torch.testing.assert_close(trace(highway, x).summary().half_life["layer 1"], torch.full((4,), 0.5).double())
    assert trace(Recurrent(RNNCell(2, 4)), x).summary().half_life == {}
    forever = trace(with_gates(LSTMCell(2, 4), forget=1.0), x).summary()
    assert forever.half_life["layer 1"].isinf().all()


def test_saturation_left_and_right():
    values = {"input": 0.05, "forget": 0.95, "cell": 3.0, "output": 0.5}
    summary = trace(with_gates(LSTMCell(2, 4), **values), x).summary()
    shares = {row.name: (row.left, row.right) for row in summary.rows}
    assert shares["input"] == (1, 0)
    assert shares["forget"] == (0, 1)
    assert shares["cell"] == (0, 1)  # tanh(3) = 0.995
    assert shares["output"] == (0, 0)
    assert all(math.isnan(share) for name in "hc" for share in shares[name])
    left, right = summary.saturation["layer 1"]["input"]
    assert left.tolist() == [1] * 4
    assert right.tolist() == [0] * 4
    assert set(summary.saturation["layer 1"]) == {"input", "forget", "cell", "output"}


def test_saturation_of_some_units_some_of_the_time():
    net = with_gates(LSTMCell(2, 4))
    with torch.no_grad():
        net.cell.weight_ih[4, 0] = 10.0  # the forget gate of unit 0 follows the sign of x
    pulses = torch.tensor([1.0, 0.0, 0.0, -1.0]).view(4, 1, 1) * torch.tensor([1.0, 0.0])
    left, right = trace(net, pulses).summary().saturation["layer 1"]["forget"]
    assert left.tolist() == [0.25, 0, 0, 0]
    assert right.tolist() == [0.25, 0, 0, 0]


def test_what_lies_beyond_the_lengths_counts_for_nothing():
    net = LSTM(2, 4)
    short = trace(net, x[:5, :1]).summary()
    padded = trace(net, x[:, :1], lengths=[5]).summary()
    for ours, wanted in zip(padded.rows, short.rows, strict=True):
        assert (ours.layer, ours.name) == (wanted.layer, wanted.name)
        assert [ours.mean, ours.std, ours.low, ours.high] == pytest.approx(
            [wanted.mean, wanted.std, wanted.low, wanted.high]
        )
    torch.testing.assert_close(padded.half_life, short.half_life)


def test_dead_units():
    net = LSTM(2, 4)
    with torch.no_grad():
        for name, rows in (("weight_ih_l0", [8 + 2]), ("weight_hh_l0", [8 + 2])):
            getattr(net, name)[rows] = 0.0
        net.bias_ih_l0[8 + 2] = net.bias_hh_l0[8 + 2] = 0.0  # the candidate of unit 2 is always zero
    summary = trace(net, x).summary()
    assert summary.dead["layer 1"].tolist() == [False, False, True, False]
    assert "layer 1: 1 of 4 units dead" in str(summary)
    assert trace(net, x).summary(dead_below=10.0).dead["layer 1"].all()
    assert trace(net, x[:1, :1]).summary().dead == {}  # one number says nothing about change


def test_a_cell_of_ones_own_is_judged_by_what_is_seen():
    class Own(nn.Module):
        state_size = 1

        def forward(self, x, state):
            mark(x.abs().clamp(max=1), "gate"), mark(x.clamp(-1, 1), "candidate"), mark(5 * x, "wide")
            return x, state + x

    values = torch.tensor([0.02, 0.5, -0.97, 0.99]).view(4, 1, 1)
    summary = trace(Recurrent(Own()), values).summary()
    shares = {row.name: (row.left, row.right) for row in summary.rows}
    assert shares["gate"] == (0.25, 0.5)
    assert shares["candidate"] == (0.25, 0.25)
    assert math.isnan(shares["wide"][0])


def test_the_gradient_by_lag_is_in_it():
    seen = trace(GRU(2, 4), x, loss=lambda y: y.square().mean())
    summary = seen.summary()
    assert torch.equal(summary.gradients["layer 1"], seen.gradients["layer 1"])
    assert "layer 1: gradient norm of the loss by lag" in str(summary)


def test_nothing_to_summarize():
    summary = trace(LSTM(2, 4), x, lengths=[0, 0, 0]).summary()
    assert all(math.isnan(row.mean) for row in summary.rows)
    assert summary.half_life == summary.dead == {}
