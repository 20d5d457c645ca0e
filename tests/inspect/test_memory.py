"""`memory`: known Jacobians by lag, estimates within their error, lengths and directions."""

import pytest
import torch
from torch import nn

from deeplstm import LSTM, GRUCell, LSTMCell, Recurrent, RNNCell, Stack, memory
from table import drawn


class Delay(nn.Module):
    """Gives the input of k steps ago: its state is a line of the last k inputs."""

    def __init__(self, width, k):
        super().__init__()
        self.width, self.state_size = width, width * k

    def forward(self, x, line):
        return line[:, : self.width], torch.cat([line[:, self.width :], x], -1)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_a_copy_from_k_steps_back_peaks_there(k):
    found = memory(Recurrent(Delay(3, k)), torch.randn(20, 2, 3))
    expected = torch.zeros(10).double()
    expected[k] = 3**0.5  # the norm of the identity, and of nothing else
    torch.testing.assert_close(found.layers["layer 1"], expected)
    torch.testing.assert_close(found.whole, expected)
    assert found.errors["layer 1"].tolist() == [0.0] * 10
    assert found.reach() == {"layer 1": k, "model": k}
    assert found.ahead is None


def test_a_copy_with_an_lstms_own_weights():
    """Gates wide open or shut make c_t = x_t at one layer; h_t passes on through R at the next step."""
    cell = RNNCell(2, 6, nonlinearity="relu", bias=False)  # three places of two: x enters the first, moves on by one
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_hh.zero_()
        cell.weight_ih[:2] = torch.eye(2)
        cell.weight_hh[2:4, :2] = cell.weight_hh[4:, 2:4] = torch.eye(2)
    last = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:, 4:] = torch.eye(2)
    found = memory(Stack(cell, last), torch.rand(12, 3, 2) + 0.5)
    torch.testing.assert_close(found.whole, torch.tensor([0, 0, 2**0.5, 0, 0, 0]).double())
    torch.testing.assert_close(found.layers["layer 1"], torch.tensor([2**0.5] * 3 + [0] * 3).double())


@pytest.mark.parametrize("lengths", [None, [12, 7, 0]], ids=str)
def test_estimates_lie_within_their_error_of_the_exact_norms(lengths):
    net, x = Stack(drawn(LSTMCell(3, 4)), drawn(GRUCell(4, 4))).double(), torch.randn(12, 3, 3, dtype=torch.float64)
    K = 12  # so that the only step with K steps behind it is a row's last: what is measured is known
    found = memory(net, x, lengths=lengths, lags=K, samples=150)
    assert found.layers["layer 1"].shape == (K,)
    last = [12, 12, 12] if lengths is None else lengths
    given = x.clone().requires_grad_()
    y, _ = net(given, lengths=lengths)
    squares = torch.zeros(3, K)
    for b in range(3):
        for unit in range(4):
            if last[b]:
                (g,) = torch.autograd.grad(y[last[b] - 1, b, unit], given, retain_graph=True)
                back = g[: last[b], b].square().sum(-1).flip(0)
                squares[b, : last[b]] += back
    count = torch.tensor([[n > k for k in range(K)] for n in last]).sum(0)
    exact = (squares.sum(0) / count).sqrt().double()
    assert ((found.whole - exact).abs() < 0.2 * exact + 1e-9).all()
    again = memory(net, x, lengths=lengths, lags=K, samples=150)
    assert torch.equal(again.whole, found.whole)  # what is drawn is given back, and drawn from the seed


def test_the_error_is_as_large_as_what_repetitions_differ():
    layer, x = Recurrent(drawn(LSTMCell(3, 4))), torch.randn(12, 1, 3)
    runs = [memory(layer, x, lags=12, samples=16, seed=seed) for seed in range(30)]
    spread = torch.stack([run.layers["layer 1"] for run in runs]).std(0)
    claimed = torch.stack([run.errors["layer 1"] for run in runs]).mean(0)
    assert ((spread / claimed)[:8].log().abs() < 0.7).all()


def test_a_reverse_layer_looks_ahead():
    net = LSTM(3, 4, bidirectional=True)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if not name.endswith("reverse"):
                p.zero_()  # the forward half is silent
    found = memory(net, torch.randn(12, 2, 3), lengths=[12, 5])
    assert found.layers["layer 1"].max() == 0
    assert found.layers["layer 1 reverse"].min() > 0
    assert found.ahead.min() > 0
    assert found.whole[1:].max() == 0
    assert found.whole[0] > 0


def test_gradients_too_small_to_square_in_float32_are_seen():
    cell = RNNCell(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        cell.weight_ih.fill_(1.0)
        cell.weight_hh.fill_(0.01)
    found = memory(Recurrent(cell), torch.rand(30, 2, 1) + 0.5)
    torch.testing.assert_close(found.whole, 0.01 ** torch.arange(15.0).double(), rtol=1e-4, atol=0)


class Last(nn.Module):
    """One output for each row, and batch first."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("x", [torch.randn(2, 12, 3), torch.randn(12, 12, 3)], ids=lambda x: str(tuple(x.shape)))
def test_a_model_with_one_output_for_each_row(x):
    model = Last()
    found = memory(model, x, lags=12, samples=4)
    given = x.clone().requires_grad_()
    jacobians = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), given)  # (2, B, T, I): rows are apart
    exact = jacobians.square().sum((0, 3)).mean(0).sqrt().flip(0).double()
    assert ((found.whole / exact).log().abs() < 0.8).all()
    assert found.whole[0] > found.whole[-1] * 5


class ByHand(nn.Module):
    """A model that calls its cell itself, all by name."""

    def __init__(self):
        super().__init__()
        self.cell = LSTMCell(3, 4)

    def forward(self, x):
        state, ys = None, []
        for x_t in x:
            h, state = self.cell(x=x_t, state=state)
            ys.append(h)
        return torch.stack(ys)


def test_a_cell_in_a_loop_is_looked_at_as_a_layer_is():
    net, x = ByHand().double(), torch.randn(12, 2, 3, dtype=torch.float64)
    found, expected = memory(net, x), memory(Stack(net.cell), x)
    torch.testing.assert_close(found.layers, expected.layers)
    torch.testing.assert_close(found.whole, expected.whole)


def test_a_text_model_and_what_is_left_as_it_was():
    from deeplstm.tasks.text import TextModel
    from deeplstm.tasks.text.model import build

    net = build(TextModel(layers=2, width=8, dropout=0.2), 11)
    before = [p.requires_grad for p in net.parameters()]
    ids = torch.randint(0, 11, (10, 2))
    state = torch.random.get_rng_state()
    found = memory(net, ids)
    assert list(found.layers) == ["layer 1", "layer 2"]
    assert found.whole.shape == (5,)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [p.requires_grad for p in net.parameters()] == before
    assert all(p.grad is None for p in net.parameters())


def test_kernels_give_the_same(monkeypatch):
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "cpu,reference")
    net, x = Stack(LSTMCell(3, 4, norm=True)).double(), torch.randn(8, 2, 3, dtype=torch.float64)
    ours = memory(net, x)
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "reference")
    theirs = memory(net, x)
    torch.testing.assert_close(ours.layers, theirs.layers)


def test_it_says_how_many_steps_there_are_not_how_many_lags_were_asked_for():
    net = LSTM(3, 4)
    assert "layer 1: 90 % of what 20 steps show lies within" in str(memory(net, torch.randn(20, 2, 3), lags=50))
    assert "layer 1: 90 % of what 12 steps show" in str(memory(net, torch.randn(20, 2, 3), lengths=[12, 7], lags=50))
    assert "layer 1: 90 % of what 10 steps show" in str(memory(net, torch.randn(20, 2, 3)))
    assert str(memory(net, torch.randn(2, 2, 3))).startswith("layer 1: 90 % of what 1 step shows lies within 0")


def test_bad_input():
    net = LSTM(3, 4)
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            memory(net, torch.zeros(5, 2, 3), lags=bad)
    with pytest.raises(TypeError, match="memory got a model of type int"):
        memory(3, torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        memory(net, torch.randn(5, 2, 3)).reach(0)

    class Table(nn.Module):
        state_size = 4

        def __init__(self):
            super().__init__()
            self.rows = nn.Embedding(5, 4)

        def forward(self, x, h):
            return self.rows(x) + h, h

    with pytest.raises(ValueError, match="no recurrent layer reads a step of numbers"):
        memory(Recurrent(Table()), torch.zeros(5, 2, dtype=torch.int64))
