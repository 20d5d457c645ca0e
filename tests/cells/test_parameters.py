"""How many parameters there are, what they are called, and what they start from."""

import math
from itertools import pairwise

import pytest
import torch

from deeplstm import LSTM as DropIn
from deeplstm import GRUCell, HighwayCell, LSTMCell, RNNCell
from table import cells


def count(module):
    return sum(p.numel() for p in module.parameters())


SIZES = [(1, 1), (5, 7), (32, 33)]


@pytest.mark.parametrize(("I", "H"), SIZES)
def test_the_gate_matrix(I, H):
    """N_c x (N_i + N_c) for each of four gates, and torch's two biases."""
    cell = LSTMCell(I, H)
    assert torch.cat([cell.weight_ih, cell.weight_hh], dim=1).shape == (4 * H, I + H)
    assert count(cell) == 4 * H * (I + H) + 8 * H
    assert count(LSTMCell(I, H, bias=False)) == 4 * H * (I + H)


I, H, P, Z, Y = 5, 7, 3, 11, 13  # sizes; widths of hidden layers


def hidden(gates, *layers, bias=1, norm=0):
    """Parameters of hidden layers that feed this many gates: the first reads x and h, the last gives the gates."""
    widths = [*layers, gates * H]
    first = layers[0] * (I + H) + bias * layers[0]
    rest = sum(a * b + bias * b for a, b in pairwise(widths))
    gains = norm * (2 * layers[0] + sum(widths[1:]))  # on W x, on R h, and on each later product
    return first + rest + gains


PLAIN = 4 * H * (I + H) + 8 * H
FORMULAS = [
    (LSTMCell, {"peephole": True}, PLAIN + 3 * H),
    (LSTMCell, {"coupled": True}, 3 * H * (I + H) + 6 * H),
    (LSTMCell, {"coupled": True, "peephole": True}, 3 * H * (I + H) + 6 * H + 2 * H),
    (LSTMCell, {"norm": True}, PLAIN + 4 * H + 4 * H + 2 * H),
    (LSTMCell, {"proj_size": P}, 4 * H * (I + P) + 8 * H + P * H),
    (
        LSTMCell,
        {"cell_clip": 1.0, "zoneout": 0.1, "recurrent_dropout": 0.1, "weight_drop": 0.1, "forget_bias": 1.0},
        PLAIN,
    ),
    (LSTMCell, {"gate_layers": (Z,)}, hidden(4, Z)),
    (LSTMCell, {"gate_layers": (Z, Y)}, hidden(4, Z, Y)),
    (LSTMCell, {"gate_layers": (Z, Y), "bias": False}, hidden(4, Z, Y, bias=0)),
    (LSTMCell, {"gate_layers": (Z,), "gate_shortcut": True}, PLAIN + hidden(4, Z)),
    (LSTMCell, {"gate_layers": (Z,), "gate_sharing": "separate"}, 4 * hidden(1, Z)),
    (LSTMCell, {"gate_sharing": {"forget": (Z,)}}, 3 * H * (I + H) + 6 * H + hidden(1, Z)),
    (
        LSTMCell,
        {"gate_sharing": {"forget": (Z,), "cell": (Y, Z)}, "gate_shortcut": True},
        PLAIN + hidden(1, Z) + hidden(1, Y, Z),
    ),
    (LSTMCell, {"gate_layers": (Z, Y), "norm": True}, hidden(4, Z, Y, norm=1) + 2 * H),
    (GRUCell, {}, 3 * H * (I + H) + 6 * H),
    (GRUCell, {"bias": False}, 3 * H * (I + H)),
    (GRUCell, {"reset_after": False}, 3 * H * (I + H) + 6 * H),
    (GRUCell, {"norm": True}, 3 * H * (I + H) + 6 * H + 6 * H),
    (GRUCell, {"norm": True, "reset_after": False}, 3 * H * (I + H) + 6 * H + 6 * H),
    (GRUCell, {"gate_layers": (Z,)}, hidden(3, Z) + H * I + H),  # the candidate's W_n x stays beside
    (GRUCell, {"gate_layers": (Z,), "reset_after": False}, hidden(2, Z) + hidden(1, Z)),
    (GRUCell, {"gate_sharing": {"reset": (Z,)}}, 2 * H * (I + H) + 4 * H + hidden(1, Z)),
    (RNNCell, {}, H * (I + H) + 2 * H),
    (RNNCell, {"norm": True}, H * (I + H) + 2 * H + 2 * H),
    (RNNCell, {"gate_layers": (Z,)}, hidden(1, Z)),
    (HighwayCell, {"micro_steps": 4}, 2 * H * (I + 4 * H) + 2 * H * (1 + 4)),
    (HighwayCell, {"micro_steps": 4, "coupled": False}, 3 * H * (I + 4 * H) + 3 * H * (1 + 4)),
    (HighwayCell, {"micro_steps": 2, "bias": False, "norm": True}, 2 * H * (I + 2 * H) + 2 * H * (1 + 2)),
]


@pytest.mark.parametrize(("cell", "options", "expected"), FORMULAS, ids=lambda value: str(value).replace("'", ""))
def test_counted_parameters_equal_the_formula(cell, options, expected):
    assert count(cell(I, H, **options)) == expected


@pytest.mark.parametrize(("width", "millions"), [(200, 4.65), (650, 19.8), (1500, 66.0)])
def test_the_models_of_zaremba_et_al(width, millions):
    """A table of 10,000 words, two layers of 4H(I + H) + 8H, and a softmax with biases."""
    words = 10_000
    total = words * width + count(DropIn(width, width, 2, device="meta")) + width * words + words
    assert total == 2 * words * width + words + 2 * (4 * width * 2 * width + 8 * width)
    assert round(total / 1e6, 2 if width == 200 else 1) == millions


@cells()
def test_every_parameter_has_a_gradient(case):
    cell = case.make()
    output, state = cell(torch.randn(3, 3, dtype=torch.float64))
    (output.sum() + sum(s.sum() for s in (state if isinstance(state, tuple) else (state,)))).backward()
    without = {name for name, p in cell.named_parameters() if p.grad is None}
    assert without == set()


def test_names_are_those_of_torchs_cells():
    for ours, theirs in ((LSTMCell, torch.nn.LSTMCell), (GRUCell, torch.nn.GRUCell), (RNNCell, torch.nn.RNNCell)):
        a, b = ours(3, 4), theirs(3, 4)
        assert {n: p.shape for n, p in a.named_parameters()} == {n: p.shape for n, p in b.named_parameters()}
        a.load_state_dict(b.state_dict())
        x, h = torch.randn(2, 3), torch.randn(2, 4)
        state = (h, torch.randn(2, 4)) if ours is LSTMCell else h
        torch.testing.assert_close(a(x, state)[1], b(x, state))


# ---------------------------------------------------------------- starts


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, RNNCell])
def test_the_start_is_torchs_number_for_number(cell):
    """The same seed draws the same weights in the same order, so that a run can be repeated with either library."""
    torch.manual_seed(5)
    ours = cell(6, 8)
    torch.manual_seed(5)
    theirs = getattr(torch.nn, cell.__name__)(6, 8)
    theirs.reset_parameters()
    torch.manual_seed(5)
    ours.reset_parameters()
    torch.manual_seed(5)
    theirs.reset_parameters()
    for (_, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("options", [{"peephole": True}, {"proj_size": 20}, {"coupled": True}, {}])
def test_every_value_starts_uniform_within_one_over_root_h(options):
    for name, p in LSTMCell(30, 64, **options).named_parameters():
        bound = 1 / math.sqrt(64)
        assert p.abs().max() <= bound, name
        assert p.abs().max() > 0.9 * bound, name
        assert abs(p.mean()) < 0.25 * bound, name


def test_hidden_layers_start_within_one_over_root_of_their_inputs():
    mlp = LSTMCell(30, 70, gate_layers=(50, 40)).deep["shared"]
    for p, fan_in in (
        (mlp.weight_ih, 100),
        (mlp.weight_hh, 100),
        (mlp.bias, 100),
        (mlp.layers[0].weight, 50),
        (mlp.layers[1].weight, 40),
    ):
        assert 0.9 / math.sqrt(fan_in) < p.abs().max() <= 1 / math.sqrt(fan_in)


def test_gains_start_at_one_and_the_bias_of_the_cell_state_at_zero():
    cell = LSTMCell(3, 4, norm=True, gate_sharing={"output": (5,)})
    gains = {name: p for name, p in cell.named_parameters() if "norm" in name}
    assert len(gains) == 2 + 2 + 3
    for name, p in gains.items():
        assert bool((p == (0.0 if name == "norm_c.bias" else 1.0)).all()), name


def forget_pre_activation(cell, H=4):
    """The forget gate of a cell that reads nothing but zeros: only its biases count."""
    return cell.weighted_sums(torch.zeros(1, 3), torch.zeros(1, cell.output_size))["forget"].squeeze(0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coupled": True},
        {"norm": True},
        {"proj_size": 2},
        {"gate_sharing": {"input": (5,)}},
    ],
    ids=str,
)
def test_forget_bias_is_what_the_biases_add_up_to(options):
    cell = LSTMCell(3, 4, forget_bias=1.5, **options)
    torch.testing.assert_close(forget_pre_activation(cell), torch.full((4,), 1.5), rtol=0, atol=0)


@pytest.mark.parametrize(
    "more",
    [{"gate_layers": (5,)}, {"gate_layers": (5, 6), "gate_sharing": "separate"}, {"gate_sharing": {"forget": (5,)}}],
    ids=str,
)
@pytest.mark.parametrize("shortcut", [False, True])
def test_forget_bias_of_a_gate_with_hidden_layers(more, shortcut):
    """The last layer's bias counts; the hidden layers' weights add their own."""
    cell = LSTMCell(3, 4, forget_bias=1.5, gate_shortcut=shortcut, **more)
    with torch.no_grad():
        for mlp in cell.mlps:
            mlp.bias.zero_()
            for layer in mlp.layers[:-1]:
                layer.bias.zero_()
    torch.testing.assert_close(forget_pre_activation(cell), torch.full((4,), 1.5), rtol=0, atol=0)


def test_forget_bias_leaves_the_other_gates_alone():
    torch.manual_seed(1)
    plain = LSTMCell(3, 4)
    torch.manual_seed(1)
    biased = LSTMCell(3, 4, forget_bias=2.0)
    changed = [name for name, p in plain.named_parameters() if not torch.equal(p, biased.get_parameter(name))]
    assert changed == ["bias_ih", "bias_hh"]
    others = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]
    for name in changed:
        assert torch.equal(plain.get_parameter(name)[others], biased.get_parameter(name)[others])


def test_transform_bias_closes_the_gates_of_a_highway():
    cell = HighwayCell(3, 4, micro_steps=3, transform_bias=-3.0)
    assert bool((cell.bias_ih[4:8] == 0).all())
    for bias in cell.bias_hh:
        assert bool((bias[4:8] == -3).all())
    assert bool((HighwayCell(3, 4, transform_bias=None).bias_ih[4:8] != 0).any())
    assert HighwayCell(3, 4, bias=False).bias_ih is None


@cells()
def test_dtype_and_device_are_the_parameters(case):
    cell = case.cell(3, 4, **case.options, dtype=torch.float64, device="meta")
    assert {(p.dtype, p.device.type) for p in cell.parameters()} == {(torch.float64, "meta")}
