"""`gates`: every parameter under its gate's name, the equations hold with them, and writing to them changes the module."""

import pytest
import torch
from torch import nn

from deeplstm import GRU, LSTM, MLP, RNN, GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell, Stack, gates, trace
from table import cells, drawn


class Own(nn.Module):
    """A cell of a user's own."""

    def __init__(self):
        super().__init__()
        self.state_size = 4
        self.mix = nn.Linear(7, 4)

    def forward(self, x, h):
        h = torch.tanh(self.mix(torch.cat([x, h], -1)))
        return h, h


def numbers_of(layer):
    """Every number that a layer shows, by its place in memory."""
    parts = list(layer.others.values())
    for gate in layer.values():
        parts += [gate.weight_x, gate.weight_h, gate.bias_x, gate.bias_h, gate.peephole]
        parts += [part for inner in gate.hidden for part in inner.parts]
    return {
        part.data_ptr() + n * part.element_size() for part in parts if part is not None for n in range(part.numel())
    }


@cells()
def test_every_number_of_every_cell_is_shown_and_counted(case):
    cell = case.make()
    (layer,) = gates(cell).values()
    assert layer.parameters == sum(p.numel() for p in cell.parameters())
    assert len(numbers_of(layer)) == layer.parameters
    assert str(layer).startswith(f"layer 1: {cell!r}, {layer.parameters} parameters")


@pytest.mark.parametrize(
    "cell", [LSTMCell(3, 4), LSTMCell(3, 4, proj_size=2), LSTMCell(3, 4, bias=False), GRUCell(3, 4)]
)
def test_the_equations_hold_in_both_forms(cell):
    drawn(cell)
    x, h = torch.randn(2, 3), torch.randn(2, cell.output_size)
    state = (h, torch.randn(2, 4)) if isinstance(cell, LSTMCell) else h
    seen = trace(cell, x, state)["layer 1"]
    for name, gate in gates(cell)["layer 1"].items():
        if name == "candidate":  # (3) of the GRU
            pre = x @ gate.W_x + gate.bias_x + seen["reset"][0] * (h @ gate.W_h + gate.bias_h)
            torch.testing.assert_close(torch.tanh(pre), seen[name][0])
            continue
        act = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[gate.nonlinearity]
        b = 0 if gate.bias is None else gate.bias
        torch.testing.assert_close(act(torch.cat([x, h], -1) @ gate.weight.T + b), seen[name][0])
        torch.testing.assert_close(act(x @ gate.W_x + h @ gate.W_h + b), seen[name][0])


def test_hidden_layers_of_a_gate_compute_it():
    cell = drawn(LSTMCell(3, 4, gate_layers=(5, 6), gate_shortcut=True))
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    seen = trace(cell, x, (h, torch.randn(2, 4)))["layer 1"]
    gate = gates(cell)["layer 1"]["forget"]
    z = torch.cat([x, h], -1)
    for layer in gate.hidden:
        z = z @ layer.weight.T + layer.bias
        z = z if layer.activation == "identity" else torch.tanh(z)
    direct = torch.cat([x, h], -1) @ gate.weight.T + gate.bias
    torch.testing.assert_close(torch.sigmoid(direct + z), seen["forget"][0])
    assert [layer.weight.shape for layer in gate.hidden] == [(5, 7), (6, 5), (4, 6)]
    assert gate.hidden[0].shared_by == ("input", "forget", "cell", "output")
    assert gate.hidden[-1].shared_by == ("forget",)


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_layers_and_directions_of_a_drop_in_have_torchs_parameters(kind):
    net = kind(3, 4, 2, bidirectional=True)
    found = gates(net)
    assert list(found) == ["layer 1", "layer 1 reverse", "layer 2", "layer 2 reverse"]
    for name, suffix in zip(found, ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
        matrix = torch.cat([gate.weight for gate in found[name].values()])
        weights = [getattr(net, f"weight_{part}_{suffix}") for part in ("ih", "hh")]
        assert torch.equal(matrix, torch.cat(weights, dim=1))
        assert torch.equal(torch.cat([gate.bias_x for gate in found[name].values()]), getattr(net, f"bias_ih_{suffix}"))


def test_a_projection_of_a_drop_in():
    net = LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    found = gates(net)
    assert {name: gate.weight.shape for name, gate in found["layer 2"].items()}["cell"] == (4, 2 * 2 + 2)
    assert torch.equal(found["layer 2 reverse"].others["weight_hr"], net.weight_hr_l1_reverse)
    assert sum(layer.parameters for layer in found.values()) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("net", [LSTM(3, 4), Recurrent(LSTMCell(3, 4)), Stack(MLP(2, 3), LSTMCell(3, 4))], ids=repr)
def test_writing_changes_the_module(net):
    before = [p.clone() for p in net.parameters()]
    gate = gates(net)["layer 1"]["forget"]
    others = [(g, g.weight.clone()) for name, g in gates(net)["layer 1"].items() if name != "forget"]
    gate.weight[1, 2:5] = 7.0  # across the seam of the two parameters
    gate.weight_x[2] = 8.0
    gate.W_h[3] = 9.0
    gate.bias.fill_(1.5)
    again = gates(net)["layer 1"]["forget"]
    assert again.weight_x[1, 2] == 7
    assert again.weight_h[1, :2].tolist() == [7, 7]
    assert again.weight[2, :3].tolist() == [8, 8, 8]
    assert again.weight_h[:, 3].tolist() == [9] * 4
    assert (again.bias_x + again.bias_h).tolist() == [1.5] * 4
    assert all(torch.equal(g.weight, old) for g, old in others)
    changed = sum(int((a != b).sum()) for a, b in zip(net.parameters(), before, strict=True))
    assert changed == 3 + 3 + 4 + 8
    x = torch.randn(3, 2, net.input_size)
    torch.testing.assert_close(trace(net, x)["layer 1"]["h"], net(x)[0])


def test_what_changes_in_the_module_is_seen():
    cell = RNNCell(3, 4)
    gate = gates(cell)["layer 1"]["hidden"]
    matrix, bias = gate.weight, gate.bias
    with torch.no_grad():
        cell.weight_hh.fill_(2.0)
        cell.bias_hh.zero_()
    assert (matrix[:, 3:] == 2).all()
    assert torch.equal(bias, cell.bias_ih)
    optimizer = torch.optim.SGD(cell.parameters(), 1.0)
    cell(torch.randn(2, 3))[0].sum().backward()
    optimizer.step()
    assert torch.equal(matrix, torch.cat([cell.weight_ih, cell.weight_hh], 1))


def test_gates_of_micro_steps_are_called_as_in_a_trace():
    cell = HighwayCell(3, 4, micro_steps=2, coupled=False)
    found = gates(cell)["layer 1"]
    seen = trace(cell, torch.zeros(2, 3))["layer 1"]
    assert [*found, "h"] == list(seen)
    assert found["carry 1"].weight_x is None
    assert torch.equal(found["carry 1"].weight, cell.weight_hh[1][8:12])


def test_a_cell_of_ones_own_has_its_parameters_by_name():
    net = Stack(Own(), LSTMCell(4, 4))
    found = gates(net)
    assert list(found["layer 1"]) == []
    assert list(found["layer 1"].others) == ["mix.weight", "mix.bias"]
    found["layer 1"].others["mix.bias"].zero_()
    assert (net.layers[0].cell.mix.bias == 0).all()
    assert "only its code can say" in str(found)


def test_the_table():
    text = str(gates(Stack(LSTMCell(3, 4, gate_sharing={"forget": (5,)}, peephole=True), GRUCell(4, 4))))
    assert "  forget  sigmoid(MLP([x, h_prev]) + p * c)" in text
    assert "tanh(W_x x + reset * (W_h h_prev + b_h) + b_x)" in text
    assert "layer 2: GRUCell(4, 4), 120 parameters" in text


def test_bad_input():
    with pytest.raises(TypeError, match="gates got Tensor, but"):
        gates(torch.zeros(3))
    with pytest.raises(ValueError, match="gates got Linear, but there is no recurrent layer of deeplstm in it"):
        gates(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"it has the model \(torch.nn.GRU\). Use deeplstm's class of that name"):
        gates(nn.GRU(2, 3))
    found = gates(LSTMCell(3, 4))
    with pytest.raises(KeyError, match="there is no 'layer 2', there is layer 1"):
        found["layer 2"]
    with pytest.raises(KeyError, match="layer 1 has no gate 'forgett', it has input, forget, cell, output"):
        found["layer 1"]["forgett"]
