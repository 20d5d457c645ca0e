"""`Recurrent` over cells of a user's own, and what it says when something does not fit."""

import re

import pytest
import torch
from torch import nn

from checks import assert_same, flat, gradients, state_of
from deeplstm import GRUCell, LSTMCell, Recurrent, explain
from table import CELLS, cells


class Leaky(nn.Module):
    """The least a cell can be: no sizes but its state's."""

    state_size = 3

    def __init__(self):
        super().__init__()
        self.keep = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, state):
        new = self.keep * state + x
        return new.sum(-1, keepdim=True), new


class Counting(nn.Module):
    """Two states; starts from learned values; counts its steps in a whole number."""

    input_size, output_size, state_size = 2, 4, (4, 1)

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.start = nn.Parameter(torch.randn(4))

    def initial_state(self, batch_size):
        return self.start.expand(batch_size, 4), torch.zeros(batch_size, 1, dtype=torch.int64)

    def forward(self, x, state):
        h, count = state
        h = torch.tanh(self.linear(torch.cat([x, h], dim=-1)))
        return h, (h, count + 1)


class Lookup(nn.Module):
    """Reads whole numbers."""

    state_size, output_size = 5, 5

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 5)

    def forward(self, x, state):
        new = torch.tanh(self.table(x) + state)
        return new, new


def test_the_least_cell():
    y, state = Recurrent(Leaky())(torch.ones(3, 2, 3))
    assert y.shape == (3, 2, 1)
    assert y[:, 0, 0].tolist() == [3.0, 4.5, 5.25]
    assert state.shape == (2, 3)
    assert Recurrent(Leaky()).input_size is None
    assert Recurrent(Leaky()).output_size is None


def test_a_learned_initial_state_is_trained_by_starts_and_by_resets():
    layer, x = Recurrent(Counting()), torch.randn(4, 3, 2)
    y, (h, count) = layer(x)
    assert count.flatten().tolist() == [4, 4, 4]
    assert bool((gradients([y, h], [layer.cell.start])[0] != 0).all())
    given = (torch.randn(3, 4), torch.zeros(3, 1, dtype=torch.int64))
    y, (h, _) = layer(x, given)
    assert bool((gradients([y, h], [layer.cell.start])[0] == 0).all())
    resets = torch.zeros(4, 3, dtype=torch.bool)
    resets[2, 1] = True
    y, (h, count) = layer(x, given, resets=resets)
    assert count.flatten().tolist() == [4, 2, 4]
    assert bool((gradients([y, h], [layer.cell.start])[0] != 0).all())
    torch.testing.assert_close(y[2:, 1], layer(x[2:])[0][:, 1])


def test_whole_numbers_in_the_state_keep_their_dtype_with_lengths():
    _, (_, count) = Recurrent(Counting())(torch.randn(4, 3, 2), lengths=[4, 0, 1])
    assert count.flatten().tolist() == [4, 0, 1]
    assert count.dtype == torch.int64


@pytest.mark.parametrize("lengths", [None, [4, 0]])
def test_whole_numbers_as_input(lengths):
    layer, x = Recurrent(Lookup(), bidirectional=True, batch_first=True), torch.randint(10, (2, 4))
    y, state = layer(x, lengths=lengths)
    assert y.shape == (2, 4, 10)
    assert state[0].dtype == layer.cell.table.weight.dtype
    assert Recurrent(Lookup().double())(x.T)[0].dtype == torch.float64


def test_a_step_may_read_more_than_one_dimension():
    class Sums(nn.Module):
        state_size = 4

        def forward(self, x, state):
            return x * 2, state + x.sum(1)

    y, state = Recurrent(Sums(), batch_first=True, reverse=True)(torch.ones(2, 5, 3, 4), lengths=[5, 1])
    assert y.shape == (2, 5, 3, 4)
    assert y[:, 1, 0, 0].tolist() == [2.0, 0.0]
    assert state[:, 0].tolist() == [15.0, 3.0]


def test_both_directions_have_weights_of_their_own():
    layer = Recurrent(GRUCell(3, 4, norm=True, gate_layers=(5,)), bidirectional=True)
    assert layer.output_size == 8
    for (name, p), (_, q) in zip(layer.cell.named_parameters(), layer.cell_reverse.named_parameters(), strict=True):
        assert p.shape == q.shape
        assert torch.equal(p, q) == ("norm" in name), name  # gains start at one in both
    own = Recurrent(Counting(), bidirectional=True)
    assert not torch.equal(
        own.cell.linear.weight, own.cell_reverse.linear.weight
    )  # nn.Linear knows how to redraw itself
    assert torch.equal(own.cell.start, own.cell_reverse.start)  # nobody knows how to redraw this
    assert own.cell.start is not own.cell_reverse.start


def test_a_forget_bias_survives_the_redrawing():
    layer = Recurrent(LSTMCell(3, 4, forget_bias=2.0), bidirectional=True)
    assert bool((layer.cell_reverse.bias_ih[4:8] + layer.cell_reverse.bias_hh[4:8] == 2).all())


@cells([case for case in CELLS if "zoneout" not in case.options])
def test_one_step_of_a_layer_is_one_call_of_its_cell(case):
    cell, x = case.make().eval(), torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    state = state_of(cell, 2)

    def stepped():
        y, new = cell(x[0], state)
        return y[None], new

    assert_same(lambda: Recurrent(cell)(x, state), stepped, [x, *flat(state), *cell.parameters()])


@pytest.mark.parametrize("sequence", [{}, {"lengths": [3, 1]}, {"resets": torch.ones(3, 2, dtype=torch.bool)}], ids=str)
def test_a_state_may_be_a_list(sequence):
    layer, x = Recurrent(LSTMCell(3, 4)), torch.randn(3, 2, 3)
    state = [torch.randn(2, 4), torch.randn(2, 4)]
    torch.testing.assert_close(layer(x, state, **sequence), layer(x, tuple(state), **sequence))


# ---------------------------------------------------------------- errors

z = torch.zeros


@pytest.mark.parametrize("thing", [nn.Linear(3, 4), LSTMCell, None, nn.LSTMCell(3, 4)], ids=lambda t: type(t).__name__)
def test_what_is_no_cell(thing):
    message = f"Recurrent got {type(thing).__name__}, but a cell is expected: an nn.Module with state_size"
    with pytest.raises(TypeError, match=message):
        Recurrent(thing)


def test_both_directions_include_the_reverse_one():
    with pytest.raises(
        ValueError, match="bidirectional=True and reverse=True; both directions include the reverse one"
    ):
        Recurrent(GRUCell(3, 4), bidirectional=True, reverse=True)


@pytest.mark.parametrize(
    ("batch_first", "x", "given", "wanted"),
    [
        (False, z(5, 2, 7), "(5, 2, 7)", "(T, B, 3) is expected, since the cell has input_size=3"),
        (True, z(2, 5, 7), "(2, 5, 7)", "(B, T, 3) is expected, since the cell has input_size=3"),
        (False, z(5, 3), "(5, 3)", "(T, B, 3) is expected, since the cell has input_size=3"),
        (False, z(3), "(3,)", "(T, B, 3) is expected, since the cell has input_size=3"),
        (False, z(5, 2, 1, 3), "(5, 2, 1, 3)", "(T, B, 3) is expected, since the cell has input_size=3"),
    ],
)
def test_an_input_of_the_wrong_shape(batch_first, x, given, wanted):
    message = (
        f"Recurrent(GRUCell) got input of shape {given}, but {wanted}. "
        "Check the dimensions of the input, or build the cell for this size."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Recurrent(GRUCell(3, 4), batch_first)(x)


def test_an_input_of_no_size_for_a_cell_that_names_none():
    with pytest.raises(ValueError, match=re.escape("got input of shape (3,), but (T, B, ...) is expected. Check")):
        Recurrent(Leaky())(z(3))


def test_an_input_that_is_no_tensor():
    packed = nn.utils.rnn.pack_sequence([z(3, 3)])
    message = (
        "Recurrent got an input of type PackedSequence, but a tensor (T, B, ...) is expected. For sequences of unequal"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        Recurrent(GRUCell(3, 4))(packed)


WRONG = [
    (
        {"x": z(5, 2, 3, dtype=torch.float64)},
        "input is torch.float64, the weights are torch.float32: convert one of them",
    ),
    ({"x": z(5, 2, 3, device="meta")}, "input is on meta, the weights are on cpu: move one of them"),
    ({"state": z(3, 4)}, "state has shapes (3, 4), (2, 4) is expected"),
    ({"state": (z(2, 4), z(2, 4))}, "state has shapes ((2, 4), (2, 4)), (2, 4) is expected"),
    (
        {"state": z(2, 4, dtype=torch.float64)},
        "state is torch.float64, the input is torch.float32: convert one of them",
    ),
    ({"state": z(2, 4, device="meta")}, "state is on meta, but the input is on cpu"),
    ({"lengths": [6, 1]}, "lengths contain [6], numbers from 0 to T=5 are expected"),
    ({"resets": z(2, 5, dtype=torch.bool)}, "resets have shape (2, 5), (T, B) = (5, 2) is expected"),
    (
        {"x": z(5, 2, 3, dtype=torch.float64), "state": z(3, 4), "lengths": [1], "resets": z(5, 2)},
        "input is torch.float64, the weights are torch.float32: convert one of them; state has shapes (3, 4), (2, 4) is "
        "expected; lengths have shape (1,), (2,) is expected: one for each row of the batch; resets are torch.float32, a "
        "tensor of torch.bool is expected",
    ),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda v: str(v)[:40])
def test_everything_that_does_not_fit_at_once(given, message):
    whole = f"Recurrent(GRUCell), input of shape (T, B, ...) = (5, 2, 3): {message}."
    with pytest.raises(ValueError, match="^" + re.escape(whole) + "$"):
        Recurrent(GRUCell(3, 4))(**{"x": z(5, 2, 3), **given})


def test_the_state_of_both_directions_is_a_pair():
    message = "state has shapes (2, 4), ((2, 4), (2, 4)) is expected"
    with pytest.raises(ValueError, match=re.escape(message)):
        Recurrent(GRUCell(3, 4), bidirectional=True)(z(5, 2, 3), z(2, 4))


def test_an_initial_state_that_does_not_fit_the_cell():
    class Wrong(Leaky):
        def initial_state(self, batch_size):
            return torch.zeros(batch_size, 7)

    with pytest.raises(ValueError, match=re.escape("state has shapes (2, 7), (2, 3) is expected")):
        Recurrent(Wrong())(z(5, 2, 3))


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 2, 3), (5, 3, 3), (3,)])
def test_noise_that_does_not_fit_the_input(shape):
    class Noisy(LSTMCell):
        def draw_noise(self, T, B, *, like):
            return {"recurrent_dropout": torch.ones(shape)}

    layer = Recurrent(Noisy(3, 3, recurrent_dropout=0.5))
    with pytest.raises(ValueError, match=re.escape(f"has shape {shape}, (T or 1, B, ...) is expected")):
        layer(z(5, 2, 3))


def test_explain_names_the_cell():
    assert str(explain(Recurrent(Leaky()), z(5, 2, 3))) == (
        "Recurrent: Leaky runs on backend 'reference'\n"
        "    not on 'torch': torch has fused kernels for LSTMCell, GRUCell and RNNCell, not for Leaky"
    )
