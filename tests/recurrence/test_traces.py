"""Values marked in a cell, over time: the same on every backend, with their gradients."""

import re

import pytest
import torch

from checks import assert_same, flat, state_of
from deeplstm import BackendUnavailable, GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell, mark, scan
from table import PLAIN, cells

NAMES = {
    LSTMCell: ["input", "forget", "cell", "output", "h", "c"],
    GRUCell: ["reset", "update", "candidate", "h"],
    RNNCell: ["h"],
    HighwayCell: [f"{gate} {m}" for gate in ("candidate", "transform", "carry") for m in range(3)] + ["h"],
}
CELLS = [
    LSTMCell(3, 4),
    LSTMCell(3, 4, coupled=True, norm=True),
    GRUCell(3, 4),
    GRUCell(3, 4, reset_after=False),
    RNNCell(3, 4),
]


@pytest.mark.parametrize("cell", [*CELLS, HighwayCell(3, 4)], ids=repr)
@pytest.mark.parametrize("lengths", [None, [2, 0, 5]], ids=str)
def test_traces_are_what_the_reference_computes_and_have_gradients(cell, lengths):
    cell = cell.double()
    x, state = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True), state_of(cell, 3)

    def run(name):
        y, final, traces = scan(cell, None, x, state, noise={}, lengths=lengths, trace=NAMES[type(cell)], backend=name)
        assert list(traces) == NAMES[type(cell)]
        return y, final, *traces.values()

    assert_same(
        lambda: run("cpu"), lambda: run("reference"), [x, *flat(state), *cell.parameters()], rtol=1e-9, atol=1e-10
    )


def test_the_hidden_values_are_the_output_and_gates_lie_between_zero_and_one():
    cell = LSTMCell(3, 4)
    x, state = torch.randn(6, 2, 3), (torch.zeros(2, 4), torch.zeros(2, 4))
    y, final, traces = scan(cell, None, x, state, noise={}, trace=("h", "c", "forget"), backend="reference")
    assert torch.equal(traces["h"], y)
    assert torch.equal(traces["c"][-1], final[1])
    assert bool(((traces["forget"] > 0) & (traces["forget"] < 1)).all())


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_a_name_that_is_not_marked(name):
    message = re.escape(
        "trace names 'forgett', but the cell marks c, cell, forget, h, input, output: choose among these"
    )
    with pytest.raises(ValueError, match=message):
        scan(
            LSTMCell(3, 4),
            None,
            torch.zeros(2, 1, 3),
            state_of(LSTMCell(3, 4), 1, torch.float32),
            noise={},
            trace=["forgett"],
            backend=name,
        )


def test_a_text_is_no_list_of_names():
    with pytest.raises(ValueError, match="trace='h' is given, a list of names is expected"):
        scan(RNNCell(3, 4), None, torch.zeros(2, 1, 3), torch.zeros(1, 4), trace="h")


@cells(PLAIN)
def test_torchs_kernels_show_nothing(case):
    cell = case.make()
    with pytest.raises(BackendUnavailable, match="torch's kernels do not show their gates"):
        scan(cell, None, torch.zeros(2, 1, 3).double(), state_of(cell, 1), noise={}, trace=["h"], backend="torch")


def test_no_steps_give_traces_without_steps():
    _, _, traces = scan(RNNCell(3, 4), None, torch.zeros(0, 2, 3), torch.zeros(2, 4), noise={}, trace=["h"])
    assert traces["h"].shape == (0, 2, 4)


def test_a_mark_gives_its_value_back_and_changes_nothing_outside():
    value = torch.ones(2, 3)
    assert mark(value, "anything") is value


@pytest.mark.parametrize("options", [{}, {"norm": True}, {"gate_layers": (5,)}], ids=str)
def test_recomputing_gives_the_same_gradients_and_keeps_less(options):
    cell = LSTMCell(3, 4, **options).double()
    x, state = torch.randn(6, 3, 3, dtype=torch.float64, requires_grad=True), state_of(cell, 3)
    kept = {}

    def run(memory, name):
        sizes = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            results = scan(cell, None, x, state, noise={}, lengths=[6, 2, 5], memory=memory, backend=name)
        kept[memory] = sum(sizes.values())
        return results

    inputs = [x, *flat(state), *cell.parameters()]
    assert_same(lambda: run("recompute", "cpu"), lambda: run("save", "reference"), inputs, rtol=1e-9, atol=1e-10)
    run("save", "cpu")
    assert kept["recompute"] < kept["save"]


def test_memory_is_one_of_two_words():
    with pytest.raises(ValueError, match="memory='little' is given, 'save' or 'recompute' is expected"):
        scan(RNNCell(3, 4), None, torch.zeros(2, 1, 3), torch.zeros(1, 4), memory="little")
    with pytest.raises(ValueError, match="memory='little'"):
        Recurrent(RNNCell(3, 4), memory="little")
    Recurrent(RNNCell(3, 4), memory="recompute")(torch.zeros(2, 1, 3))


def test_a_step_that_marks_can_be_compiled_by_torch():
    cell, x, state = LSTMCell(3, 4), torch.randn(2, 3), (torch.zeros(2, 4), torch.zeros(2, 4))
    compiled = torch.compile(lambda x, state: cell.step(x, state, {}), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, state), cell.step(x, state, {}))
