"""Which backend runs a call, and that all of them give the same. The tolerances stand here, one table for all of them."""

import re
import threading

import pytest
import torch

from checks import assert_same, flat, state_of
from deeplstm import BackendUnavailable, GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell, backend, scan
from deeplstm.recurrence import dispatch
from table import CELLS, FUSED, PLAIN, SHAPES, cells, shapes

TOLERANCE = {  # (backend, dtype): against the reference, at the sizes of the table
    ("torch", torch.float64): {"rtol": 1e-9, "atol": 1e-11},
    ("torch", torch.float32): {"rtol": 2e-5, "atol": 2e-6},
}


@shapes([shape for shape in SHAPES if shape.T and shape.B and shape.lengths != (0, 0)])
@cells(FUSED)
@pytest.mark.parametrize(("name", "dtype"), TOLERANCE, ids=str)
def test_a_backend_equals_the_reference(name, dtype, case, shape):
    if case.options.get("proj_size", 0) >= shape.H:
        pytest.skip("no projection is smaller than one unit")
    cell = case.cell(shape.I, shape.H, **case.options).to(dtype)
    x = torch.randn(shape.T, shape.B, shape.I, dtype=dtype, requires_grad=True)
    state = state_of(cell, shape.B, dtype)
    for reverse in (False, True):
        calls = [
            lambda b=b: scan(cell, None, x, state, lengths=shape.lengths, reverse=reverse, backend=b)  # noqa: B023
            for b in (name, "reference")
        ]
        assert_same(*calls, [x, *flat(state), *cell.parameters()], **TOLERANCE[name, dtype])


@cells([case for case in CELLS if case.cell is not HighwayCell])
def test_torchs_kernels_take_exactly_the_cells_that_they_know(case):
    """The name of every option that stands in the way is in the reasons."""
    cell = case.make().train()
    x, state = torch.randn(2, 2, 3, dtype=torch.float64), state_of(cell, 2)
    harmless = {"bias", "proj_size", "nonlinearity", "forget_bias", "weight_drop", "gate_activation"}
    in_the_way = {name for name, value in case.options.items() if name not in harmless and value != "separate"}
    if not in_the_way:
        scan(cell, None, x, state, backend="torch")
        return
    with pytest.raises(BackendUnavailable) as error:
        scan(cell, None, x, state, backend="torch")
    assert set(re.findall(r"torch's kernel has no (\w+)=", str(error.value))) == in_the_way


@cells(PLAIN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=str)
def test_second_derivatives_and_transforms_are_right(case, dtype, lengths):
    layer = Recurrent(case.make(dtype=dtype))
    x = torch.randn(5, 3, 3, dtype=dtype)

    def function(x):
        return layer(x, lengths=lengths)[0].sin().sum()

    def penalty(x):
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(x), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [x, *layer.parameters()])

    for transform in (
        penalty,
        torch.func.grad(function),
        lambda x: torch.func.jvp(function, (x,), (torch.ones_like(x),)),
        lambda x: torch.func.vmap(function)(torch.stack([x, 2 * x])),
    ):
        with backend("reference"):
            expected = transform(x)
        torch.testing.assert_close(transform(x), expected, rtol=1e-4, atol=1e-5)
    with backend("torch"), pytest.raises(BackendUnavailable, match=r"lack rules for torch\.func's transforms"):
        torch.func.grad(function)(x)


@cells([case for case in CELLS if case.is_noisy and case.cell is not HighwayCell])
def test_auto_draws_the_noise_that_the_reference_draws(case):
    layer, x = Recurrent(case.make()).train(), torch.randn(4, 2, 3, dtype=torch.float64)
    found = []
    for name in ("auto", "reference"):
        torch.manual_seed(6)
        with backend(name):
            found.append(layer(x, lengths=[4, 2]))
    torch.testing.assert_close(*found)


# ---------------------------------------------------------------- choosing

x, h = torch.zeros(5, 2, 3), torch.zeros(2, 4)
REASONS = [
    (RNNCell(3, 4), {"resets": torch.zeros(5, 2, dtype=torch.bool)}, "torch's kernels have no resets"),
    (RNNCell(3, 4), {"lengths": [0, 0]}, "torch's kernels want at least one row with at least one step"),
    (RNNCell(3, 4, norm=True), {}, "torch's kernel has no norm=True"),
    (GRUCell(3, 4, reset_after=False, zoneout=0.5), {}, "has no reset_after=False; torch's kernel has no zoneout=0.5"),
    (RNNCell(3, 4, gate_sharing={"hidden": (2,)}), {}, "torch's kernel has no gate_sharing={'hidden': (2,)}"),
    (RNNCell(3, 4, recurrent_dropout=0.5), {}, "torch's kernel has no recurrent_dropout=0.5"),
    (HighwayCell(3, 4), {}, "torch has fused kernels for LSTMCell, GRUCell and RNNCell, not for HighwayCell"),
]


@pytest.mark.parametrize(("cell", "sequence", "reason"), REASONS, ids=lambda v: str(v)[:40])
def test_a_backend_asked_for_by_name_runs_or_raises_with_its_reasons(cell, sequence, reason):
    with pytest.raises(BackendUnavailable, match=re.escape(reason)) as error:
        scan(cell, None, x, h, backend="torch", **sequence)
    assert str(error.value).startswith(f"backend 'torch' cannot run {type(cell).__name__}: ")
    assert str(error.value).endswith("Leave the choice to backend='auto', or use 'reference', which runs everything.")
    with backend("torch"), pytest.raises(BackendUnavailable, match=re.escape(reason)):
        scan(cell, None, x, h, **sequence)
    scan(cell, None, x, h, **sequence)


@pytest.mark.parametrize("empty", [torch.zeros(0, 2, 3), torch.zeros(5, 0, 3)])
def test_nothing_to_do_is_done_by_the_reference(empty):
    cell, state = RNNCell(3, 4), torch.zeros(empty.shape[1], 4)
    with pytest.raises(BackendUnavailable, match="at least one row with at least one step"):
        scan(cell, None, empty, state, backend="torch")
    y, _ = scan(cell, None, empty, state)
    assert y.shape == (*empty.shape[:2], 4)


def test_recurrent_dropout_is_nothing_in_evaluation():
    scan(RNNCell(3, 4, recurrent_dropout=0.5).eval(), None, x, h, backend="torch")


def test_a_subclass_of_a_cell_has_equations_of_its_own():
    class Doubled(RNNCell):
        def step(self, x, state, noise):
            y, new = super().step(x, state, noise)
            return 2 * y, new

    cell, ones = Doubled(3, 4), torch.ones(5, 2, 3)
    with pytest.raises(BackendUnavailable, match="not for Doubled"):
        scan(cell, None, ones, h, backend="torch")
    y, state = scan(cell, None, ones, h)
    torch.testing.assert_close(y[-1], 2 * state)


def used(cell=None):
    with dispatch.recording(lambda: "here") as records:
        scan(cell or PLAIN[0].cell(3, 4), None, x, (h, h))
    return records[0].backend


def test_auto_takes_the_first_that_can_and_a_context_forces_one():
    assert used() == "torch"
    with backend("reference"):
        assert used() == "reference"
        with backend("auto"):
            assert used() == "torch"
        assert used() == "reference"
    assert used() == "torch"


def test_the_argument_is_before_the_context():
    with backend("torch"), dispatch.recording(lambda: "here") as records:
        scan(HighwayCell(3, 4), None, x, h, backend="reference")
    assert records == [dispatch.Record("here", "HighwayCell", "reference")]


def test_the_warning_of_a_fallback_points_to_the_line_that_called(monkeypatch):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")
    monkeypatch.setattr(dispatch, "_warned", set())

    class Summed(RNNCell):
        def step(self, x, state, noise):
            y, new = super().step(x, state, noise)
            return y * (2 if x.sum().item() > 0 else 1), new

    with pytest.warns(UserWarning, match='a branch on the values of tensors at "[^"]*test_backends') as warned:
        Recurrent(Summed(3, 4))(torch.ones(5, 2, 3))
    assert warned[0].filename == __file__
    assert 'at File "' not in str(warned[0].message)


def test_an_error_inside_ends_the_context():
    with pytest.raises(RuntimeError, match="inside"), backend("reference"):
        raise RuntimeError("inside")
    assert dispatch.forced() == "auto"


def test_a_context_holds_for_its_thread_alone():
    seen = []
    with backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(used()))
        thread.start()
        thread.join()
        assert used() == "reference"
    assert seen == ["torch"]


def test_a_backend_that_does_not_exist():
    message = re.escape("backend='cuda' is given, one of auto, cpu, torch, reference is expected.")
    with pytest.raises(ValueError, match=message), backend("cuda"):
        pass
    with pytest.raises(ValueError, match=message):
        scan(LSTMCell(3, 4), None, x, (h, h), backend="cuda")
