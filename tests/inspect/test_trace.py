"""`trace`: what every layer of any model computes, by name, in one pass, and nothing lost."""

import copy
import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import deeplstm
from deeplstm import (
    GRU,
    LSTM,
    MLP,
    RNN,
    BackendUnavailable,
    GRUCell,
    HighwayCell,
    LSTMCell,
    Recurrent,
    RNNCell,
    Stack,
    gates,
    mark,
    scan,
    trace,
)
from table import cells, drawn

LSTM_NAMES = {"input", "forget", "cell", "output", "h", "c"}


def by_torchs_cell(cell, x):
    """Gates and states of every step, from torch's cell and the equations of its documentation."""
    h = c = torch.zeros(x.shape[1], cell.hidden_size, dtype=x.dtype)
    steps = []
    for x_t in x:
        sums = x_t @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
        i, f, g, o = sums.chunk(4, -1)
        h, c = cell(x_t, (h, c))
        values = {"input": i.sigmoid(), "forget": f.sigmoid(), "cell": g.tanh(), "output": o.sigmoid(), "h": h, "c": c}
        steps.append(values)
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_two_layers_and_directions_are_what_loops_over_torchs_cell_give(backend):
    net, x = LSTM(3, 4, 2, bidirectional=True).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    with deeplstm.backend(backend):
        seen = trace(net, x)
    read = x
    for layer in range(2):
        outputs = []
        for suffix, name in (("", f"layer {layer + 1}"), ("_reverse", f"layer {layer + 1} reverse")):
            cell = nn.LSTMCell(read.shape[-1], 4).double()
            for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, parameter).data = getattr(net, f"{parameter}_l{layer}{suffix}").data
            expected = by_torchs_cell(cell, read.flip(0) if suffix else read)
            assert set(seen[name]) == LSTM_NAMES
            for value in LSTM_NAMES:
                wanted = expected[value].flip(0) if suffix else expected[value]
                torch.testing.assert_close(seen[name][value], wanted)
            outputs.append(seen[name]["h"])
        read = torch.cat(outputs, -1)
    torch.testing.assert_close(seen.y, nn.LSTM.forward(net, x)[0])
    torch.testing.assert_close(seen.state[1][0], seen["layer 1"]["c"][-1])
    assert not seen.y.requires_grad
    assert seen.x is x


@cells()
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=str)
def test_every_cell_traced_through_a_model_is_what_scan_traces(case, lengths):
    cell = case.make().eval()
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    layer = Recurrent(cell)
    seen = trace(layer, x, lengths=lengths)["layer 1"]
    assert {"h"} <= set(seen)
    sizes = cell.state_size if isinstance(cell.state_size, tuple) else (cell.state_size,)
    zeros = tuple(torch.zeros(3, size, dtype=torch.float64) for size in sizes)
    y, _, expected = scan(
        cell,
        None,
        x,
        zeros if isinstance(cell.state_size, tuple) else zeros[0],
        noise={},
        lengths=lengths,
        trace=list(seen),
        backend="reference",
    )
    for name, value in seen.items():
        torch.testing.assert_close(value, expected[name])
    torch.testing.assert_close(seen["h"], y)
    if lengths:
        assert not any(value[:, 1].any() or value[3:, 2].any() for value in seen.values())


def test_names_paths_and_cells_of_a_nested_model():
    inner = Stack(LSTMCell(4, 4), MLP(4, 4))
    net = Stack(MLP(3, 4), inner, LSTM(4, 2, 2, bidirectional=True), Recurrent(HighwayCell(4, 4), reverse=True))
    seen = trace(net, torch.randn(5, 2, 3))
    assert seen.paths == {
        "layer 1": "layers.1.layers.0",
        "layer 2": "layers.2",
        "layer 2 reverse": "layers.2",
        "layer 3": "layers.2",
        "layer 3 reverse": "layers.2",
        "layer 4 reverse": "layers.3",
    }
    assert list(gates(net)) == list(seen)
    assert seen.cells["layer 1"] is inner.layers[0].cell
    assert type(seen.cells["layer 3"]) is LSTMCell
    assert "layer 4 reverse: HighwayCell, 5 steps, 2 rows: candidate 0 (4)" in str(seen)


def test_batch_first_unbatched_and_packed_input():
    net = LSTM(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    seen = trace(net, x)
    torch.testing.assert_close(seen["layer 1"]["h"], net(x)[0].transpose(0, 1))
    torch.testing.assert_close(trace(net, x[0])["layer 1"]["h"], seen["layer 1"]["h"][:, :1])
    packed = pack_sequence([x[0, :2], x[1]], enforce_sorted=False)
    again = trace(net, packed)
    torch.testing.assert_close(again["layer 1"]["c"][:2], seen["layer 1"]["c"][:2])
    assert not again["layer 1"]["c"][2:, 0].any()
    assert again.inside["layer 1"].sum(0).tolist() == [2, 5]


def test_a_text_model():
    from deeplstm.tasks.text import TextModel
    from deeplstm.tasks.text.model import build

    net = build(TextModel(layers=2, width=8, skip="residual", between=(8,), cell="gru"), 11).eval()
    ids = torch.randint(0, 11, (7, 3))
    seen = trace(net, ids)
    assert {layer: list(values) for layer, values in seen.items()} == {
        "layer 1": ["reset", "update", "candidate", "h"],
        "layer 2": ["reset", "update", "candidate", "h"],
    }
    logits, state = net(ids)
    torch.testing.assert_close(seen.y, logits)
    again = trace(net, ids, state)
    torch.testing.assert_close(again.y, net(ids, state)[0])


class Loop(nn.Module):
    """Layers that a model runs step by step: a cell that it calls itself, and a layer with T = 1."""

    def __init__(self):
        super().__init__()
        self.cell, self.layer, self.again = LSTMCell(3, 4), LSTM(4, 4, 2), Recurrent(RNNCell(4, 4))

    def forward(self, x):
        state = later = None
        ys = []
        for x_t in x:
            h, state = self.cell(x_t, state)
            y, later = self.layer(h[None], later)
            ys.append(y)
        once, _ = self.again(torch.cat(ys))
        return self.again(once)[0]


def test_a_loop_over_time_is_put_together_and_a_second_use_stands_for_itself():
    net, x = Loop(), torch.randn(6, 2, 3)
    seen = trace(net, x)
    assert list(seen) == ["layer 1", "layer 2", "layer 3", "layer 4", "layer 4, call 2"]
    whole = trace(Stack(net.cell), x)["layer 1"]
    torch.testing.assert_close(dict(seen["layer 1"]), dict(whole))
    torch.testing.assert_close(dict(seen["layer 3"]), dict(trace(net.layer, whole["h"])["layer 2"]))
    torch.testing.assert_close(seen["layer 4, call 2"]["h"], net(x))
    assert not torch.equal(seen["layer 4"]["h"], seen["layer 4, call 2"]["h"])


class OwnScan(nn.Module):
    """A model that calls `scan` itself, with a function and with a cell."""

    def __init__(self):
        super().__init__()
        self.a, self.cell = nn.Parameter(torch.tensor(0.5)), RNNCell(1, 4)

    def forward(self, x):
        def leaky(params, x, state):
            new = params["a"] * state + x
            return new, new

        y, _ = scan(leaky, {"a": self.a}, x, torch.zeros(x.shape[1], 1))
        return scan(self.cell, None, y, torch.zeros(x.shape[1], 4), noise={})[0]


def test_a_model_that_calls_scan_itself():
    net = OwnScan()
    seen = trace(net, torch.ones(3, 2, 1))
    assert seen.paths == {"layer 1": "cell", "layer 2": ""}
    assert seen["layer 2"]["h"][:, 0, 0].tolist() == [1, 1.5, 1.75]
    assert torch.equal(seen["layer 1"]["h"], seen.y)


class Own(nn.Module):
    """A cell of a user's own, with marks or without."""

    def __init__(self, marks=()):
        super().__init__()
        self.state_size, self.marks = (4, 2), marks
        self.mix = nn.Linear(7, 4)

    def forward(self, x, state):
        a, b = state
        gate = torch.sigmoid(self.mix(torch.cat([x, a], -1)))
        new, slow = gate * a + (1 - gate), 0.5 * b + gate[:, :2]
        for name, value in (("gate", gate), ("h", gate * 2)):
            if name in self.marks:
                mark(value, name)
        return new + 1, (new, slow)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("marks", "names"),
    [((), ["h", "state 0", "state 1"]), (("gate", "h"), ["gate", "h", "y", "state 0", "state 1"])],
    ids=str,
)
def test_a_cell_of_ones_own_shows_its_output_and_states(marks, names, backend):
    net = Recurrent(Own(marks), bidirectional=True).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with deeplstm.backend(backend):
        seen = trace(net, x, lengths=[5, 2])
    y, (forward, backward) = net(x, lengths=[5, 2])
    assert {layer: list(values) for layer, values in seen.items()} == {"layer 1": names, "layer 1 reverse": names}
    output = "y" if marks else "h"
    torch.testing.assert_close(torch.cat([seen[layer][output] for layer in seen], -1), y)
    torch.testing.assert_close(seen["layer 1"]["state 1"][[4, 1], [0, 1]], forward[1])
    torch.testing.assert_close(seen["layer 1 reverse"]["state 0"][0], backward[0])


def test_a_cell_with_dropout_keeps_its_random_numbers_and_a_model_its_buffers():
    net = Stack(LSTMCell(3, 4, zoneout=0.3, recurrent_dropout=0.2), nn.BatchNorm1d(4), RNNCell(4, 4), dropout=0.3)
    x = torch.randn(5, 2, 3)
    torch.manual_seed(3)
    seen = trace(net, x)
    torch.manual_seed(3)
    assert net.layers[1].num_batches_tracked == 0
    torch.testing.assert_close(net(x)[0], seen.y)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_gradients_through_a_batch_norm_that_is_training(place):
    """It counts what it sees, and its backward needs what it has counted."""
    norm, cells = nn.BatchNorm1d(4), [LSTMCell(4, 4), RNNCell(4, 4)]
    cells.insert(["before", "between", "after"].index(place), norm)
    net, x = Stack(*cells).train(), torch.randn(6, 3, 4)
    before = dict(net.named_buffers())
    counted = norm.running_mean.clone()
    given = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(copy.deepcopy(net)(given)[0].square().sum(), given)
    wanted = gradient.square().sum(-1).mean(1).sqrt().flip(0).double()
    seen = trace(net, x, loss=lambda y: y.square().sum())
    if place != "before":  # else the layer's own input is not the model's
        torch.testing.assert_close(seen.gradients["layer 1"], wanted, rtol=1e-4, atol=1e-6)
    assert seen.gradients["layer 1"].isfinite().all()
    trace(net, x, grad=True).y.sum().backward()  # later, when the trace is long done
    assert deeplstm.memory(net, x, samples=2).whole.isfinite().all()
    assert all(after is before[name] for name, after in net.named_buffers())
    assert torch.equal(norm.running_mean, counted)


def test_only_the_values_asked_for():
    net = Stack(LSTMCell(3, 4), GRUCell(4, 4))
    seen = trace(net, torch.zeros(2, 1, 3), values=["forget", "update"])
    assert [list(values) for values in seen.values()] == [["forget"], ["update"]]
    assert list(trace(LSTMCell(3, 4), torch.zeros(1, 3), values=["forget"])["layer 1"]) == ["forget"]
    message = re.escape("trace got values=['forgett', 'h'], but no layer marks forgett")
    with pytest.raises(ValueError, match=message):
        trace(net, torch.zeros(2, 1, 3), values=["forgett", "h"])
    with pytest.raises(ValueError, match="a list of names is expected"):
        trace(net, torch.zeros(2, 1, 3), values="forget")


def test_values_have_gradients_where_asked_for():
    net, x = LSTM(3, 4), torch.randn(5, 2, 3)
    trace(net, x, grad=True)["layer 1"]["forget"].sum().backward()
    assert net.weight_ih_l0.grad[4:8].abs().sum() > 0
    assert not trace(net, x)["layer 1"]["forget"].requires_grad
    with torch.inference_mode():
        trace(net, x)


@pytest.mark.parametrize("lengths", [None, [6, 4, 0]], ids=str)
def test_the_gradient_of_one_number_by_lag_is_autograds(lengths):
    net, x = Stack(drawn(LSTMCell(3, 4)), drawn(RNNCell(4, 4))), torch.randn(6, 3, 3)
    lengths = lengths and torch.tensor(lengths)
    last = torch.tensor([6, 6, 6]) if lengths is None else lengths

    def loss(y):
        return (y * torch.arange(4.0)).sum()

    seen = trace(net, x, lengths=lengths, loss=loss)
    given = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(net(given, lengths=lengths)[0]), given)
    norms = gradient.square().sum(-1)
    for k in range(6):
        rows = [norms[last[b] - 1 - k, b] for b in range(3) if last[b] - 1 - k >= 0]
        wanted = torch.stack(rows).mean().sqrt().double()
        torch.testing.assert_close(seen.gradients["layer 1"][k], wanted, rtol=1e-5, atol=1e-7)
    assert seen.gradients["layer 2"].shape == (6,)
    assert not seen.y.requires_grad
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_the_gradient_of_a_loss_of_every_step_by_lag():
    """h_t = a h_(t-1) + x_t: the gradient of h_t with respect to x_(t-k) is a^k, wherever t is."""
    net = Recurrent(RNNCell(1, 1, nonlinearity="relu"))
    with torch.no_grad():
        for p, value in zip(net.parameters(), (1.0, 0.5, 0.0, 0.0), strict=True):
            p.fill_(value)
    x = torch.rand(8, 3, 1) + 0.1
    seen = trace(net, x, loss=lambda y: y[..., 0], lengths=[8, 3, 5])
    torch.testing.assert_close(seen.gradients["layer 1"], 0.5 ** torch.arange(4.0).double())
    first = Recurrent(net.cell, batch_first=True)
    again = trace(first, x.transpose(0, 1), loss=lambda y: y[..., 0])
    torch.testing.assert_close(again.gradients["layer 1"], 0.5 ** torch.arange(4.0).double())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_gradients_in_inference_mode_and_of_what_was_made_there(mode):
    net, given = LSTM(3, 4), torch.randn(6, 2, 3)
    expected = trace(net, given, net(given)[1], loss=lambda y: y.sum()).gradients["layer 1"]
    with torch.inference_mode():
        x, state, twin = given.clone(), net(given)[1], LSTM(3, 4)
        twin.load_state_dict(net.state_dict())
    for model in (net, twin):
        with mode():
            seen = trace(model, x, state, loss=lambda y: y.sum())
            found = deeplstm.memory(model, x, state, samples=2)
        torch.testing.assert_close(seen.gradients["layer 1"], expected)
        assert bool((found.layers["layer 1"] > 0).all())


def test_losses_that_are_none():
    net, x = LSTM(3, 4), torch.zeros(5, 2, 3)
    with pytest.raises(ValueError, match="a loss that gives a float, but a tensor with a gradient is expected"):
        trace(net, x, loss=lambda y: 1.0)
    with pytest.raises(ValueError, match=re.escape("a loss of shape (5, 2, 4), but one number or (T, B) = (5, 2)")):
        trace(net, x, loss=lambda y: y)


def test_torchs_own_layers_are_named_not_lost():
    with pytest.raises(
        ValueError, match=re.escape("no recurrent layer of deeplstm ran in LSTM. It has the model (torch.nn.LSTM)")
    ):
        trace(nn.LSTM(3, 4), torch.zeros(2, 1, 3))

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.theirs, self.ours = nn.GRU(3, 4), GRU(4, 4)

        def forward(self, x):
            return self.ours(self.theirs(x)[0])

    with pytest.warns(UserWarning, match=re.escape("trace does not see theirs (torch.nn.GRU)")):
        assert list(trace(Both(), torch.zeros(2, 1, 3))) == ["layer 1"]


def test_a_forced_backend_that_shows_nothing_says_so():
    with deeplstm.backend("torch"), pytest.raises(BackendUnavailable, match="do not show their gates"):
        trace(RNN(3, 4), torch.zeros(2, 1, 3))


def test_bad_input():
    with pytest.raises(TypeError, match="trace got a model of type function"):
        trace(lambda x: x, torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match=r"no recurrent layer of deeplstm ran in Linear\. Give a model with"):
        trace(nn.Linear(3, 4), torch.zeros(2, 3))
    net = LSTM(3, 4)
    with pytest.raises(RuntimeError, match="must be equal to input_size"):
        trace(net, torch.zeros(2, 1, 5))
    assert not net._forward_hooks
    with pytest.raises(KeyError, match="the trace has no 'layer 2', it has layer 1"):
        trace(net, torch.zeros(2, 1, 3))["layer 2"]
    with pytest.raises(KeyError, match="the layer has no 'nope', it has input, forget, cell, output, c, h"):
        trace(net, torch.zeros(2, 1, 3))["layer 1"]["nope"]


def test_a_compiled_model_is_seen():
    net, x = Stack(LSTMCell(3, 4)), torch.randn(4, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(net, backend="eager")
        seen = trace(compiled, x)
    torch.testing.assert_close(seen["layer 1"]["h"], net(x)[0])
