"""Every cell with every option follows its numbered equations, as `equations` states them once more in plain NumPy."""

import copy
import math

import numpy as np
import pytest
import torch

import equations
from checks import flat, state_of
from deeplstm import GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell
from equations import sigmoid as s
from table import CELLS, cells

T, B, I, H = 3, 2, 3, 4


def by_the_equations(cell, weights, x, state, noise):
    """The naive run: every row by itself, every step after the other. Shapes as `Recurrent` has them."""
    weights = {name: p.detach().numpy() for name, p in weights.items()}
    is_tuple = isinstance(state, tuple)
    outputs, finals = [], []
    for b in range(x.shape[1]):
        row = tuple(s[b].detach().numpy() for s in state) if is_tuple else state[b].detach().numpy()
        ys = []
        for t in range(x.shape[0]):
            masks = {n: m[t if len(m) > 1 else 0, b].numpy() for n, m in noise.items()}
            y, row = equations.step(cell, weights, x[t, b].numpy(), row, masks)
            ys.append(y)
        outputs.append(ys)
        finals.append(row)
    y = torch.tensor(np.array(outputs)).transpose(0, 1)
    parts = [torch.tensor(np.array([f[p] for f in finals])) for p in range(len(state))] if is_tuple else None
    return y, tuple(parts) if is_tuple else torch.tensor(np.array(finals))


def check(cell, seed):
    x, state = torch.randn(T, B, I, dtype=torch.float64), state_of(cell, B, requires_grad=False)
    torch.manual_seed(seed)
    ours = Recurrent(cell)(x, state)
    torch.manual_seed(seed)  # the same masks, in the order a layer draws them
    noise, weights = cell.draw_noise(T, B, like=x), cell.draw_weights()
    expected = by_the_equations(cell, weights or dict(cell.named_parameters()), x, state, noise)
    for got, want in zip(flat(ours), flat(expected), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@cells()
def test_evaluation(case):
    check(case.make(I, H).eval(), seed=3)


@cells([case for case in CELLS if case.is_noisy])
def test_training_with_noise(case):
    check(case.make(I, H).train(), seed=4)


@cells()
def test_without_noise_training_is_evaluation(case):
    cell, x = case.make(I, H), torch.randn(T, B, I, dtype=torch.float64)
    options = {
        name: value
        for name, value in case.options.items()
        if name not in ("zoneout", "recurrent_dropout", "weight_drop")
    }
    quiet = case.cell(I, H, **options).double()
    quiet.load_state_dict(cell.state_dict())
    torch.testing.assert_close(Recurrent(quiet.train())(x), Recurrent(copy.deepcopy(quiet).eval())(x), rtol=0, atol=0)


# ---------------------------------------------------------------- numbers worked by hand


def filled(cell, **values):
    """A cell with these numbers as parameters, one for all units or one a row; every other parameter is zero."""
    with torch.no_grad():
        for name, p in cell.double().named_parameters():
            value = torch.tensor(values.get(name.replace(".", "_"), 0.0), dtype=torch.float64)
            p.copy_(value.reshape(-1, *[1] * (p.dim() - 1)).expand(p.shape))
    return cell


def one(*numbers):
    return tuple(torch.tensor([[n]], dtype=torch.float64) for n in numbers)


def test_lstm_by_hand():
    cell = filled(
        LSTMCell(1, 1), weight_ih=[1.0, 2.0, 3.0, 4.0], weight_hh=[0.5, -0.5, 1.0, -1.0], bias_ih=[0.1, 0.2, 0.3, 0.4]
    )
    y, (h, c) = cell(one(0.5)[0], one(0.2, -0.3))
    i, f, g, o = s(0.5 + 0.1 + 0.1), s(1.0 - 0.1 + 0.2), math.tanh(1.5 + 0.2 + 0.3), s(2.0 - 0.2 + 0.4)
    assert c.item() == pytest.approx(f * -0.3 + i * g, rel=1e-14)
    assert h.item() == y.item() == pytest.approx(o * math.tanh(f * -0.3 + i * g), rel=1e-14)


def test_lstm_zero_weights_halve_the_cell_state():
    _, (h, c) = filled(LSTMCell(1, 1))(one(9.0)[0], one(5.0, 2.0))
    assert c.item() == 1.0  # f = 1/2, g = 0
    assert h.item() == pytest.approx(0.5 * math.tanh(1.0), rel=1e-14)


def test_lstm_coupled_keeps_what_it_does_not_write():
    _, (_, c) = filled(LSTMCell(1, 1, coupled=True), bias_ih=[math.log(3.0), math.atanh(0.5), 0.0])(
        one(0.0)[0], one(0.0, 1.0)
    )
    assert c.item() == pytest.approx(0.75 * 1.0 + 0.25 * 0.5, rel=1e-14)


def test_lstm_peepholes_read_the_old_and_the_new_cell_state():
    cell = filled(
        LSTMCell(1, 1, peephole=True), bias_ih=[0.0, 0.0, 100.0, 0.0], weight_ci=1.0, weight_cf=2.0, weight_co=3.0
    )
    _, (h, c) = cell(one(0.0)[0], one(0.0, 0.7))
    new = s(1.4) * 0.7 + s(0.7) * 1.0
    assert c.item() == pytest.approx(new, rel=1e-14)
    assert h.item() == pytest.approx(s(3 * new) * math.tanh(new), rel=1e-14)


def test_lstm_clip_limits_what_is_carried():
    _, (h, c) = filled(LSTMCell(1, 1, cell_clip=0.25))(one(0.0)[0], one(0.0, -2.0))
    assert c.item() == -0.25
    assert h.item() == pytest.approx(0.5 * math.tanh(-0.25), rel=1e-14)


def test_gru_by_hand_in_both_forms():
    numbers = {
        "weight_ih": [1.0, 2.0, 3.0],
        "weight_hh": [0.5, -0.5, 2.0],
        "bias_ih": [0.1, 0.2, 0.3],
        "bias_hh": [0.0, 0.0, 0.7],
    }
    r, z = s(0.5 + 0.1 + 0.1), s(1.0 - 0.1 + 0.2)
    after = math.tanh(1.5 + 0.3 + r * (0.4 + 0.7))
    before = math.tanh(1.5 + 0.3 + 2.0 * (r * 0.2) + 0.7)
    for reset_after, n in ((True, after), (False, before)):
        y, h = filled(GRUCell(1, 1, reset_after=reset_after), **numbers)(one(0.5)[0], one(0.2)[0])
        assert h.item() == y.item() == pytest.approx((1 - z) * n + z * 0.2, rel=1e-14)


def test_rnn_by_hand():
    numbers = {"weight_ih": 2.0, "weight_hh": -1.0, "bias_ih": 0.3, "bias_hh": 0.1}
    for nonlinearity, expected in (("tanh", math.tanh(1.0 - 0.2 + 0.4)), ("relu", 1.0 - 0.2 + 0.4)):
        y, h = filled(RNNCell(1, 1, nonlinearity=nonlinearity), **numbers)(one(0.5)[0], one(0.2)[0])
        assert h.item() == y.item() == pytest.approx(expected, rel=1e-14)


def test_highway_by_hand():
    cell = filled(
        HighwayCell(1, 1, micro_steps=2),
        weight_ih=[1.0, 2.0],
        weight_hh_0=[0.5, -0.5],
        weight_hh_1=[1.5, 1.0],
        bias_hh_1=[0.0, 0.3],
    )
    y, h = cell(one(0.5)[0], one(0.2)[0])
    t = s(1.0 - 0.1)
    first = t * math.tanh(0.5 + 0.1) + (1 - t) * 0.2
    t = s(first + 0.3)
    assert h.item() == y.item() == pytest.approx(t * math.tanh(1.5 * first) + (1 - t) * first, rel=1e-14)


def test_highway_free_carry_gate():
    cell = filled(HighwayCell(1, 1, micro_steps=1, coupled=False), bias_ih=[math.atanh(0.5), 0.0, math.log(3.0)])
    _, h = cell(one(0.0)[0], one(2.0)[0])
    assert h.item() == pytest.approx(0.5 * 0.5 + 0.75 * 2.0, rel=1e-14)


def test_hidden_layer_by_hand():
    cell = filled(
        RNNCell(1, 1, gate_layers=(2,), gate_activation="relu"),
        deep_hidden_gate_weight_ih=[1.0, -1.0],
        deep_hidden_gate_weight_hh=[2.0, 2.0],
        deep_hidden_gate_bias=0.5,
        deep_hidden_gate_layers_0_weight=0.25,
        deep_hidden_gate_layers_0_bias=0.1,
    )
    _, h = cell(one(2.0)[0], one(0.5)[0])
    assert h.item() == pytest.approx(
        math.tanh(0.25 * (2.0 + 1.0 + 0.5) + 0.25 * max(0.0, -2.0 + 1.0 + 0.5) + 0.1), rel=1e-14
    )
