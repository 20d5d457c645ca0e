"""What every cell is as a module: one step, sizes, printing, copying, saving."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from checks import flat, state_of
from deeplstm import GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell
from table import CELLS, cells


@cells()
def test_sizes_are_those_of_what_comes_out(case):
    cell = case.make(3, 4)
    y, state = cell(torch.randn(2, 3, dtype=torch.float64))
    assert y.shape == (2, cell.output_size)
    sizes = cell.state_size if isinstance(cell.state_size, tuple) else (cell.state_size,)
    assert isinstance(state, tuple) == isinstance(cell.state_size, tuple)
    assert [s.shape for s in flat(state)] == [(2, size) for size in sizes]
    assert (cell.input_size, cell.hidden_size) == (3, 4)


@cells()
def test_no_state_is_zeros_and_one_row_needs_no_batch(case):
    cell = case.make().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    zeros = torch.utils._pytree.tree_map(torch.zeros_like, state_of(cell, 2, requires_grad=False))
    torch.testing.assert_close(cell(x), cell(x, zeros), rtol=0, atol=0)
    alone, together = cell(x[1]), cell(x)
    for one, all_rows in zip(flat(alone), flat(together), strict=True):
        torch.testing.assert_close(one, all_rows[1])


@cells()
def test_a_step_changes_neither_input_nor_state(case):
    cell = case.make()
    x, state = torch.randn(2, 3, dtype=torch.float64), state_of(cell, 2, requires_grad=False)
    before = [t.clone() for t in (x, *flat(state))]
    cell(x, state)
    for was, now in zip(before, (x, *flat(state)), strict=True):
        assert torch.equal(was, now)


@cells()
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "state_dict"])
def test_a_copy_computes_the_same(case, how):
    cell, x = case.make(), torch.randn(2, 3, dtype=torch.float64)
    if how == "deepcopy":
        twin = copy.deepcopy(cell)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(cell))
    elif how == "torch.save":
        file = io.BytesIO()
        torch.save(cell, file)
        twin = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    else:
        twin = case.make()
        twin.load_state_dict(cell.state_dict())
    torch.testing.assert_close(twin.eval()(x), cell.eval()(x), rtol=0, atol=0)
    assert repr(twin) == repr(cell)
    with torch.no_grad():
        next(twin.parameters()).add_(1.0)
    assert not torch.equal(next(twin.parameters()), next(cell.parameters()))


def test_repr_shows_sizes_and_what_differs_from_the_defaults():
    assert repr(LSTMCell(3, 4)) == "LSTMCell(3, 4)"
    assert repr(LSTMCell(3, 4, False, gate_layers=(5,), zoneout=(0.1, 0.0))) == (
        "LSTMCell(3, 4, bias=False, gate_layers=(5,), zoneout=(0.1, 0.0))"
    )
    assert repr(GRUCell(3, 4, reset_after=False)) == "GRUCell(3, 4, reset_after=False)"
    assert repr(RNNCell(3, 4, nonlinearity="relu", norm=True)) == "RNNCell(3, 4, nonlinearity='relu', norm=True)"
    assert repr(HighwayCell(3, 4, micro_steps=5)) == "HighwayCell(3, 4, micro_steps=5)"
    assert repr(Recurrent(GRUCell(3, 4), bidirectional=True)) == (
        "Recurrent(\n  bidirectional=True\n  (cell): GRUCell(3, 4)\n  (cell_reverse): GRUCell(3, 4)\n)"
    )


@cells()
def test_repr_can_be_run(case):
    names = {"LSTMCell": LSTMCell, "GRUCell": GRUCell, "RNNCell": RNNCell, "HighwayCell": HighwayCell}
    cell = case.make()
    twin = eval(repr(cell), names)
    assert {n: p.shape for n, p in twin.named_parameters()} == {n: p.shape for n, p in cell.named_parameters()}


def test_one_width_may_stand_for_one_layer():
    assert LSTMCell(3, 4, gate_layers=5).deep["shared"].weight_ih.shape == (5, 3)
    assert LSTMCell(3, 4, gate_sharing={"cell": 5}).deep["cell_gate"].weight_ih.shape == (5, 3)


def test_gates_share_hidden_layers_or_have_their_own():
    assert list(LSTMCell(3, 4, gate_layers=(5,)).deep) == ["shared"]
    separate = LSTMCell(3, 4, gate_layers=(5,), gate_sharing="separate")
    assert list(separate.deep) == ["input_gate", "forget_gate", "cell_gate", "output_gate"]
    assert list(GRUCell(3, 4, gate_layers=(5,), reset_after=False).deep) == ["shared", "candidate_gate"]
    assert list(LSTMCell(3, 4, gate_sharing={"forget": (5,), "output": ()}).deep) == ["forget_gate"]


@cells([case for case in CELLS if not case.is_noisy])
def test_one_trace_of_a_step_serves_every_input(case):
    """No branch on values: what a compiler of cells stands on."""
    cell = case.make().eval()
    x, state = torch.randn(2, 3, dtype=torch.float64), state_of(cell, 2, requires_grad=False)
    traced = torch.fx.experimental.proxy_tensor.make_fx(lambda a, s: cell.step(a, s, {}))(x, state)
    other = torch.randn(2, 3, dtype=torch.float64), state_of(cell, 2, requires_grad=False)
    torch.testing.assert_close(traced(*other), cell(*other))


class Twice(nn.Module):
    """The least a cell can be; see tests/nn/test_recurrent.py for what such a cell can do."""

    state_size = 2

    def forward(self, x, state):
        return 2 * state, state + x


def test_a_cell_of_ones_own_is_a_module_with_a_state_size():
    y, state = Recurrent(Twice())(torch.ones(3, 1, 2))
    assert y[:, 0, 0].tolist() == [0.0, 2.0, 4.0]
    assert state.tolist() == [[3.0, 3.0]]
