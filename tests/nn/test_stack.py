"""`Stack`: what flows from layer to layer, against compositions written by hand."""

import copy
import pickle

import pytest
import torch
from torch import nn

from checks import assert_same, flat
from deeplstm import (
    GRU,
    LSTM,
    MLP,
    RNN,
    GRUCell,
    HighwayCell,
    LSTMCell,
    Readout,
    Recurrent,
    RNNCell,
    Stack,
    VariationalDropout,
    backend,
    detach,
)
from table import CELLS, cells

T, B, I, H = 4, 3, 5, 6


def input_of(width=I):
    return torch.randn(T, B, width, dtype=torch.float64, requires_grad=True)


def check(stack, x, by_hand, **call):
    """The stack's last output and gradients are those of a composition by hand."""
    assert_same(lambda: stack(x, **call)[0], by_hand, [x, *stack.parameters()])


def test_no_links():
    a, b, c = MLP(I, H), GRUCell(H, 4), nn.Linear(4, 2)
    stack = Stack(a, b, c).double()
    x = input_of()
    check(stack, x, lambda: c(Recurrent(b)(a(x))[0]))
    assert (stack.input_size, stack.output_size) == (I, 2)


def test_residual_links_every_layer_that_keeps_its_width():
    cells_ = [LSTMCell(I, H), LSTMCell(H, H), GRUCell(H, H), RNNCell(H, 4), HighwayCell(4, 4)]
    stack = Stack(*cells_, MLP(4, 4), nn.Linear(4, 4), nn.ReLU(), skip="residual").double()
    mlp, linear = stack.layers[5], stack.layers[6]
    x = input_of()

    def by_hand():
        h = Recurrent(cells_[0])(x)[0]
        h = h + Recurrent(cells_[1])(h)[0]
        h = h + Recurrent(cells_[2])(h)[0]
        h = Recurrent(cells_[3])(h)[0]
        h = h + Recurrent(cells_[4])(h)[0]
        h = h + mlp(h)
        h = h + linear(h)
        return torch.relu(h)  # an activation is no layer to go around

    check(stack, x, by_hand)
    assert stack.linked == [False, True, True, False, True, True, True, False]


def test_residual_around_both_directions_and_a_drop_in():
    both, drop_in = Recurrent(GRUCell(H, H // 2), bidirectional=True), LSTM(H, H // 2, bidirectional=True)
    stack = Stack(both, drop_in, skip="residual").double()
    x = input_of(H)

    def by_hand():
        h = x + both(x)[0]
        return h + drop_in(h)[0]

    check(stack, x, by_hand)


def test_highway_links():
    a, b = LSTMCell(I, H), GRUCell(H, H)
    stack = Stack(a, b, MLP(H, H), skip="highway").double()
    x = input_of()

    def by_hand():
        h = Recurrent(a)(x)[0]
        for layer, gate in ((Recurrent(b), stack.gates["1"]), (stack.layers[2], stack.gates["2"])):
            y = layer(h)
            y = y[0] if isinstance(y, tuple) else y
            t = torch.sigmoid(h @ gate.weight.T + gate.bias)
            h = t * y + (1 - t) * h
        return h

    check(stack, x, by_hand)
    assert list(stack.gates) == ["1", "2"]
    assert all(bool((gate.bias == -1).all()) for gate in stack.gates.values())


def test_dense_links_read_everything_before():
    a, b, mlp, c = LSTMCell(I, H), GRUCell(I + H, 4), MLP(I + H + 4, 3), RNNCell(I + H + 4 + 3, 2)
    stack = Stack(a, b, mlp, c, skip="dense").double()
    x = input_of()

    def by_hand():
        one = Recurrent(a)(x)[0]
        two = Recurrent(b)(torch.cat([x, one], -1))[0]
        three = mlp(torch.cat([x, one, two], -1))
        return Recurrent(c)(torch.cat([x, one, two, three], -1))[0]

    check(stack, x, by_hand)
    assert stack.output_size == 2


@pytest.mark.parametrize("skip", [None, "residual"])
def test_a_readout_stands_beside(skip):
    a, head, b = GRUCell(I, I), MLP(I, 2), GRUCell(I, 4)
    stack = Stack(a, Readout(head), b, skip=skip).double()
    x = input_of()
    y, _, layers = stack(x, return_layers=True)
    h = Recurrent(a)(x)[0] + (x if skip else 0)
    torch.testing.assert_close(layers[1], head(h))
    torch.testing.assert_close(y, Recurrent(b)(h)[0])


def test_dense_does_not_read_a_prediction_beside():
    a, b = GRUCell(I, H), GRUCell(I + H, 4)
    stack = Stack(a, Readout(MLP(I + H, 2)), b, skip="dense").double()
    x = input_of()
    check(stack, x, lambda: Recurrent(b)(torch.cat([x, Recurrent(a)(x)[0]], -1))[0])


def test_a_readout_at_the_end_is_the_output():
    a, head = GRUCell(I, H), MLP(H, 2)
    stack = Stack(a, Readout(head)).double()
    x = input_of()
    check(stack, x, lambda: head(Recurrent(a)(x)[0]))


def test_an_mlp_makes_the_next_layer_read_the_prediction():
    a, head, b = GRUCell(I, H), MLP(H, 2), GRUCell(2, 4)
    stack = Stack(a, head, b).double()
    x = input_of()
    check(stack, x, lambda: Recurrent(b)(head(Recurrent(a)(x)[0]))[0])


def test_stacks_in_stacks():
    inner = Stack(GRUCell(I, I), MLP(I, I), skip="residual")
    outer = Stack(inner, LSTMCell(I, H), Stack(MLP(H, 3)), skip="residual").double()
    x = input_of()
    y, state = outer(x)
    h = x + inner(x)[0]
    torch.testing.assert_close(y, outer.layers[2](Recurrent(outer.layers[1].cell)(h)[0])[0])
    assert [len(part) for part in state] == [1, 2, 0]
    again, _ = outer(x, state, lengths=[4, 0, 2], resets=torch.rand(T, B) < 0.5)
    assert bool((again[1:, 1] == 0).all())


@pytest.mark.parametrize("skip", [None, "residual", "dense", "highway"])
def test_a_first_layer_may_read_whole_numbers(skip):
    width = 2 * H if skip == "dense" else H
    stack = Stack(nn.Embedding(9, H), GRUCell(H, H), LSTMCell(width, H), skip=skip)
    words = torch.randint(9, (T, B))
    y, state, layers = stack(words, return_layers=True, lengths=[4, 0, 2])
    assert y.shape == (T, B, H)
    assert len(state) == 2
    inside = torch.arange(T)[:, None] < torch.tensor([4, 0, 2])
    torch.testing.assert_close(layers[0], stack.layers[0](words) * inside[..., None])
    if skip == "dense":
        one = Recurrent(stack.layers[1].cell)(layers[0], lengths=[4, 0, 2])[0]
        both = torch.cat([layers[0], one], -1)
        torch.testing.assert_close(y, Recurrent(stack.layers[2].cell)(both, lengths=[4, 0, 2])[0])
    words[3, 2] = -1  # beyond its length: even a number that no table has
    torch.testing.assert_close(stack(words, lengths=[4, 0, 2])[0], y)


def test_every_layers_output_on_request():
    stack = Stack(GRUCell(I, H), nn.Tanh(), GRUCell(H, 4), batch_first=True).double()
    x = torch.randn(B, T, I, dtype=torch.float64)
    y, state, layers = found = stack(x, return_layers=True)
    assert found.layers is layers
    assert [tuple(h.shape) for h in layers] == [(B, T, H), (B, T, H), (B, T, 4)]
    torch.testing.assert_close(layers[1], layers[0].tanh())
    assert torch.equal(layers[2], y)
    torch.testing.assert_close((y, state), stack(x))


@pytest.mark.parametrize("skip", [None, "residual", "highway"])
def test_lengths_and_values_beyond_them(skip):
    """NaN beyond a length reaches no result and no gradient, also through layers that know nothing of lengths."""
    layers = [
        MLP(I, H),
        nn.LayerNorm(H),
        LSTMCell(H, H, zoneout=0.2),
        nn.Linear(H, H),
        GRU(H, 3, bidirectional=True),
        MLP(6, 6),
    ]
    stack = Stack(*layers, skip=skip).double().eval()
    lengths = torch.tensor([2, 0, 4])
    beyond = torch.arange(T)[:, None] >= lengths
    x = input_of()
    spoiled = x.detach().masked_fill(beyond[..., None], float("nan")).requires_grad_()
    given = [*stack.parameters()]
    assert_same(
        lambda: stack(spoiled, lengths=lengths), lambda: stack(x, lengths=lengths), [spoiled, *given], [x, *given],
        rtol=0, atol=0,
    )  # fmt: skip
    y, _, outputs = stack(x, lengths=lengths, return_layers=True)
    assert all(bool((h[beyond] == 0).all()) for h in (y, *outputs))
    torch.testing.assert_close(y[:2, 0], stack(x[:2, :1])[0][:, 0])


def test_batch_first_is_a_transpose():
    layers = [MLP(I, H), LSTMCell(H, H), VariationalDropout(0.5), Recurrent(GRUCell(H, 3), bidirectional=True)]
    by_time, by_row = Stack(*layers).double().eval(), Stack(*layers, batch_first=True).double().eval()
    x, resets = input_of(), torch.rand(T, B) < 0.4
    y, state = by_time(x, lengths=[4, 1, 3], resets=resets)
    turned, same = by_row(x.transpose(0, 1), lengths=[4, 1, 3], resets=resets.T)
    torch.testing.assert_close(turned.transpose(0, 1), y)
    torch.testing.assert_close(flat(same), flat(state))


def test_a_state_is_carried_on():
    stack = Stack(MLP(I, H), LSTMCell(H, H), Recurrent(GRUCell(H, H)), RNN(H, 3, 2), skip="residual").double()
    x = input_of()
    y, state = stack(x)
    assert len(state) == stack.recurrent_layers == 3
    first, carried = stack(x[:1])
    rest, last = stack(x[1:], detach(carried))
    torch.testing.assert_close(torch.cat([first, rest]), y)
    torch.testing.assert_close(flat(last), flat(state))


@cells(CELLS)
def test_every_cell_stacks(case):
    """On itself, with links, lengths and resets; and on the reference as by choice."""
    bottom = case.make(I, H)
    top = case.make(bottom.output_size, H)
    stack = Stack(bottom, top, skip="residual" if top.input_size == top.output_size else None).double().eval()
    x, sequence = input_of(), {"lengths": [4, 0, 2], "resets": torch.rand(T, B) < 0.3}
    y, state = stack(x, **sequence)
    with backend("reference"):
        torch.testing.assert_close(stack(x, **sequence), (y, state))
    assert y.shape == (T, B, top.output_size)


def test_no_steps_and_no_rows():
    stack = Stack(nn.Linear(I, H), LSTMCell(H, H), MLP(H, 3), skip="residual")
    for shape in ((0, B, I), (T, 0, I), (0, 0, I)):
        y, state = stack(torch.zeros(shape))
        assert y.shape == (*shape[:2], 3)
        assert state[0][0].shape == (shape[1], H)


def test_copies_compute_the_same():
    stack, x = Stack(MLP(I, H), LSTMCell(H, H, norm=True), skip="highway", dropout=0.1).eval(), torch.randn(T, B, I)
    for twin in (copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        assert torch.equal(twin(x)[0], stack(x)[0])
        assert repr(twin) == repr(stack)
    other = Stack(MLP(I, H), LSTMCell(H, H, norm=True), skip="highway", dropout=0.1).eval()
    other.load_state_dict(stack.state_dict())
    assert torch.equal(other(x)[0], stack(x)[0])


# ---------------------------------------------------------------- dropout between layers


class Ones(nn.Module):
    """A layer that gives ones, so that what was dropped can be seen."""

    input_size = output_size = 500

    def forward(self, x):
        return torch.ones_like(x)


class See(nn.Module):
    """A layer that keeps what it was given."""

    input_size = output_size = 500

    def forward(self, x):
        self.seen = x.unflatten(0, (T, B))
        return x


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_between_layers(variational):
    first, second = See(), See()
    stack = Stack(Ones(), first, Ones(), second, Ones(), dropout=0.25, variational=variational)
    y, _ = stack(torch.ones(T, B, 500))
    for seen in (first.seen, second.seen):
        assert seen.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
        assert (seen == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)
        assert torch.equal(seen[0], seen[1]) == variational
        assert not torch.equal(seen[:, 0], seen[:, 1])
    assert not torch.equal(first.seen, second.seen)
    assert bool((y == 1).all())  # nothing is dropped after the last layer
    stack.eval()(torch.ones(T, B, 500))
    assert bool((first.seen == 1).all())


def test_dropout_is_before_a_link_adds_what_went_around():
    stack = Stack(Ones(), See(), skip="residual", dropout=0.5)
    stack(torch.full((T, B, 500), 10.0))
    assert stack.layers[1].seen.unique().tolist() == [10.0, 12.0]


def test_a_prediction_beside_is_not_dropped():
    stack = Stack(Ones(), Readout(Ones()), See(), dropout=0.5)
    layers = stack(torch.ones(T, B, 500), return_layers=True).layers
    assert bool((layers[1] == 1).all())
    assert bool((stack.layers[2].seen == 0).any())


@pytest.mark.parametrize("skip", ["dense", "highway"])
def test_dropout_with_every_link_follows_the_seed(skip):
    stack = Stack(GRUCell(I, I), GRUCell(2 * I if skip == "dense" else I, I), skip=skip, dropout=0.5)
    x, found = torch.randn(T, B, I), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(stack(x)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
