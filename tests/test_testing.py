"""`check_cell` passes what is right, and says of what is wrong where and by how much."""

import copy
import doctest
import random
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import deeplstm
from deeplstm import GRUCell, HighwayCell, LSTMCell, RNNCell
from deeplstm.recurrence import dispatch
from deeplstm.recurrence.backends import reference
from deeplstm.recurrence.state import map_state
from deeplstm.testing import check_cell


class Own(nn.Module):
    """A right cell of a user's own; the wrong ones differ from it in one thing."""

    input_size, output_size, state_size = 3, 4, 4

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(7, 4)

    def new(self, x, h):
        return torch.tanh(self.linear(torch.cat([x, h], -1)))

    def forward(self, x, h):
        h = self.new(x, h)
        return h, h


def errors(cell, backend="reference"):
    """The message, which must be there."""
    with pytest.raises(AssertionError) as error:
        check_cell(cell, backends=[backend])
    return str(error.value)


def failed(message):
    """(check, backend) of every line of the table that failed."""
    return re.findall(r"^(\S.*?)  +(\S+)[^\n]*  FAILED$", message, re.MULTILINE)


# ---------------------------------------------------------------- what is right


@pytest.mark.parametrize(
    "cell",
    [
        LSTMCell(3, 4, proj_size=2),
        GRUCell(3, 4, reset_after=False, gate_layers=(5,)),
        RNNCell(3, 4, zoneout=0.3, recurrent_dropout=0.4, weight_drop=0.2),
        HighwayCell(3, 4, norm=True),
        Own(),
    ],
    ids=lambda cell: type(cell).__name__,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_right_cells_pass(cell, dtype):
    report = check_cell(cell, dtype=dtype, T=4, B=2)
    assert report.problems == []
    assert all(c.error <= c.allowed for c in report.checks if c.error is not None)
    assert {c.backend for c in report.checks} == {"-", *dispatch.BACKENDS}


def test_every_case_of_a_backend_is_in_the_report():
    def lines(backend):
        return {c.name: c.note for c in report.checks if c.backend == backend}

    report = check_cell(LSTMCell(3, 4), backends=["torch"])
    over_time = {name for name in lines("reference") if not name.startswith("finite differences")}
    assert set(lines("torch")) == over_time
    assert lines("torch")["resets"] == "not run: torch's kernels have no resets"
    assert lines("torch")["unequal lengths"] == ""


def test_a_learned_start_and_a_state_of_whole_numbers():
    class Counting(Own):
        state_size = (4, 1)

        def __init__(self):
            super().__init__()
            self.start = nn.Parameter(torch.randn(4))

        def initial_state(self, batch_size):
            return self.start.expand(batch_size, 4), torch.zeros(batch_size, 1, dtype=torch.int64)

        def forward(self, x, state):
            h = self.new(x, state[0])
            return h, (h, state[1] + 1)

    assert check_cell(Counting()).problems == []


def test_frozen_and_tied_parameters_and_none_at_all():
    cell = Own()
    cell.linear.bias.requires_grad_(False)
    cell.again = cell.linear
    assert check_cell(cell).problems == []

    class Leaky(nn.Module):
        state_size = 3

        def forward(self, x, state):
            new = 0.5 * state + x
            return new.sum(-1, keepdim=True), new

    assert check_cell(Leaky(), input_size=3).problems == []


def test_an_operator_that_torch_differentiates_once():
    class Hard(nn.Module):
        state_size = input_size = 3

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x, state):
            new = torch.tanh(x + nn.functional.hardsigmoid(self.linear(state)) * state)
            return new, new

    report = check_cell(Hard())
    notes = {c.name: c.note for c in report.checks if c.backend == "reference"}
    for name in ("second derivatives", "finite differences, second"):
        assert notes[name].startswith(
            "not run: torch says: derivative for aten::hardsigmoid_backward is not implemented"
        )


def test_a_cell_that_draws_noise_itself_is_told_and_checked():
    class Noisy(Own):
        def new(self, x, h):
            return nn.functional.dropout(super().new(x, h), 0.5, self.training)

    class Always(Own):
        def new(self, x, h):
            return super().new(x, h) + torch.randn_like(h)

    report = check_cell(Noisy())
    assert "draws noise itself: every run starts from the same seed" in str(report)
    assert "not run: the cell draws noise" not in str(report)
    report = check_cell(Always())
    lines = re.findall(r"(.*\S)  .*not run: the cell draws noise in evaluation too", str(report))
    assert [line.split("  ")[0] for line in lines] == ["rows of the batch", "two chunks"]
    assert "draws noise" not in str(check_cell(Noisy().eval()))


def test_nothing_of_the_users_changes():
    cell = Own().eval()
    cell.linear.bias.grad = torch.ones(4)
    before, states = copy.deepcopy(cell.state_dict()), (torch.get_rng_state(), random.getstate())
    with torch.no_grad():
        check_cell(cell)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    torch.testing.assert_close(cell.state_dict(), before, rtol=0, atol=0)
    assert not cell.training
    assert cell.linear.bias.grad.tolist() == [1.0] * 4
    assert cell.linear.weight.grad is None
    assert cell.linear.weight.dtype == torch.float32
    assert dispatch.forced() == "auto"


def test_the_report_is_a_table():
    lines = str(check_cell(LSTMCell(3, 4))).splitlines()
    assert lines[0] == "LSTMCell, torch.float64, T=5, B=3"
    assert re.fullmatch(r"check +backend +largest error  allowed", lines[1])
    assert any(re.fullmatch(r"reverse +torch +[\d.e-]+  [\d.e-]+", line) for line in lines)
    assert any(re.fullmatch(r"finite differences, second +reference +agrees", line) for line in lines)


def test_the_examples_run():
    for test in doctest.DocTestFinder(recurse=False).find(check_cell, "check_cell"):
        assert test.examples
        assert doctest.DocTestRunner().run(test).failed == 0
    assert deeplstm.testing.check_cell is check_cell


# ---------------------------------------------------------------- what is wrong with a step


def returning(**attributes):
    """A cell with another forward, or other sizes."""
    return type("Wrong", (Own,), attributes)()


FORMS = [
    ({"forward": lambda self, x, h: self.new(x, h)}, "forward returned Tensor, but (output, new_state) is expected"),
    ({"forward": lambda self, x, h: (h, h, h)}, "forward returned ['Tensor', 'Tensor', 'Tensor'], but"),
    (
        {"forward": lambda self, x, h: (h, (h, h))},
        "a state of shapes ((3, 4), (3, 4)), where state_size=4 asks for (3, 4). Return",
    ),
    ({"forward": lambda self, x, h: (h, h[:, :2])}, "a state of shapes (3, 2), where state_size=4 asks for (3, 4)"),
    ({"forward": lambda self, x, h: (h, h.half())}, "a state of torch.float16, where torch.float64 came in"),
    (
        {"forward": lambda self, x, h: (h[:, :2], h)},
        "an output of shape (3, 2), where (3, 4) is expected for 3 rows and output_size=4",
    ),
    (
        {"forward": lambda self, x, h: (h[0], h), "output_size": None},
        "an output of shape (4,), where (3, ...) is expected for 3 rows",
    ),
    ({"state_size": 5}, "what forward returns: it raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
]


@pytest.mark.parametrize(("attributes", "text"), FORMS, ids=[text[:40] for _, text in FORMS])
def test_a_wrong_form_ends_the_check(attributes, text):
    message = errors(returning(**attributes))
    assert message.startswith("check_cell(Wrong): 1 of 1 checks failed.")
    assert text in message


def test_numbers_of_another_dtype_in_the_cell():
    def forward(self, x, h):
        return (h := h @ torch.eye(4)), h

    assert "it raised RuntimeError: expected m" in errors(returning(forward=forward))
    report = check_cell(returning(forward=forward), dtype=torch.float32)
    assert re.search(
        r"finite differences, first .* not run: in float64 it raised RuntimeError: expected m", str(report)
    )


def test_changes_in_place():
    class InPlace(Own):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x, h):
            self.steps += 1
            x.mul_(2)
            h = self.new(x, h.add_(1))
            return h, h

    assert "what forward leaves alone: forward changed x, state, steps in place; a step must" in errors(InPlace())


def test_a_memory_outside_the_state():
    class Remembers(Own):
        last = 0.0

        def new(self, x, h):
            self.last = super().new(x, h) + 0.5 * self.last
            return self.last

    message = errors(Remembers())
    assert (
        "the same step twice: a second call with the same arguments, from the same seed, differs in output" in message
    )
    assert "Carry in the state what the cell remembers" in message
    assert failed(message) == [("the same step twice", "-")]


def test_random_numbers_of_another_library():
    class Drawn(Own):
        def new(self, x, h):
            return super().new(x, h) * random.random()

    state = random.getstate()
    assert "draw with torch's generators" in errors(Drawn())
    random.setstate(state)


def test_rows_that_meet():
    class Mean(Own):
        def new(self, x, h):
            h = super().new(x, h)
            return h - h.mean(0)

    class Neighbour(Own):
        def new(self, x, h):
            return super().new(x, h) + h.cumsum(0)

    message = errors(Mean())
    assert failed(message) == [("each row alone", "-")]
    assert re.search(r"each row alone: results differ in output by \d.*; new state by .*allowed\); a row must", message)
    assert failed(errors(Neighbour())) == [("rows permuted", "-"), ("each row alone", "-")]


# ---------------------------------------------------------------- what is wrong with derivatives


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, slope):
        return 2.001 * slope


class WrongSecond(torch.autograd.Function):
    """The first derivative is right; the second is lost, since y is taken for a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = torch.tanh(x)
        return ctx.y.clone()

    @staticmethod
    def backward(ctx, slope):
        return slope * (1 - ctx.y.detach() ** 2)


def test_a_wrong_gradient():
    class Wrong(Own):
        def new(self, x, h):
            return torch.tanh(WrongGradient.apply(self.linear(torch.cat([x, h], -1))))

    message = errors(Wrong())
    assert ("finite differences, first", "reference") in failed(message)
    for name in ("x", "initial state", "parameter linear.weight", "parameter linear.bias"):
        assert re.search(rf"{name} \(numerical: -?\d\S+ analytical: -?\d\S+\)", message)


def test_a_gradient_that_is_cut():
    class Cut(Own):
        def new(self, x, h):
            return super().new(x, h.detach())

    message = errors(Cut())
    assert "; of initial state (none arrives, but results depend on it); of parameter linear.weight (num" in message
    assert "Look for detach()" in message


def test_a_wrong_second_derivative():
    class Wrong(Own):
        def new(self, x, h):
            return WrongSecond.apply(self.linear(torch.cat([x, h], -1)))

    assert failed(errors(Wrong())) == [("finite differences, second", "reference")]


# ---------------------------------------------------------------- what is wrong with a backend


def changed(y=lambda y: y, state=lambda s: s, when=lambda call: True, why_not=lambda call: []):
    """A backend that gives what the reference gives, changed."""

    def run(call):
        if not when(call):
            return reference.run(call)
        output, final, traces = reference.run(call)
        return y(output), map_state(state, final), traces

    return SimpleNamespace(run=run, why_not=why_not)


def raising(call):
    raise ZeroDivisionError("inside")


EVERY = ["outputs and gradients", "unequal lengths", "resets", "reverse", "lengths, resets, reverse"]
BACKENDS = {
    "output": (changed(y=lambda y: y + 1e-6), [*EVERY, "two chunks"]),
    "state": (changed(state=lambda s: s * 1.001), [*EVERY, "second derivatives", "two chunks"]),
    "gradient": (changed(y=lambda y: 1.001 * y - 0.001 * y.detach()), [*EVERY, "second derivatives", "two chunks"]),
    "lengths": (
        changed(y=lambda y: y + 1, when=lambda call: call.lengths is not None),
        ["unequal lengths", "lengths, resets, reverse"],
    ),
    "reverse": (
        changed(y=lambda y: y.flip(0), when=lambda call: call.reverse),
        ["reverse", "lengths, resets, reverse"],
    ),
    "chunks": (changed(state=torch.zeros_like, when=lambda call: call.x.shape[0] < 3), ["two chunks"]),
    "nan": (changed(y=lambda y: y * float("nan")), [*EVERY, "second derivatives", "two chunks"]),
    "raises": (changed(when=raising), [*EVERY, "second derivatives", "two chunks"]),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_wrong_backend(name, monkeypatch):
    backend, cases = BACKENDS[name]
    monkeypatch.setitem(dispatch.BACKENDS, "new", backend)
    message = errors(Own(), "new")
    assert failed(message) == [(case, "new") for case in [*EVERY, "second derivatives", "two chunks"] if case in cases]
    assert ", backend 'new': " in message
    assert check_cell(Own(), backends=["reference"]).problems == []


def test_a_wrong_backend_is_told_by_tensor_and_by_how_much(monkeypatch):
    monkeypatch.setitem(dispatch.BACKENDS, "new", BACKENDS["output"][0])
    message = errors(Own(), "new")
    assert "it differs from the reference, the cell's own code in a loop, in output by 1e-06 (" in message
    assert "gradient" not in message.partition("outputs and gradients")[2].partition("\n")[0]
    monkeypatch.setitem(dispatch.BACKENDS, "new", BACKENDS["gradient"][0])
    message = errors(Own(), "new")
    assert re.search(
        r"in gradient of x by \d\S+ \(\d\S+ allowed\); gradient of initial state by .*; gradient of param", message
    )
    monkeypatch.setitem(dispatch.BACKENDS, "new", BACKENDS["raises"][0])
    assert "+ two chunks, backend 'new': it raised ZeroDivisionError: inside" in errors(Own(), "new")


def test_a_backend_that_cannot(monkeypatch):
    never = changed(why_not=lambda call: ["no such thing", "nor this"])
    monkeypatch.setitem(dispatch.BACKENDS, "new", never)
    report = check_cell(Own())
    (line,) = [c for c in report.checks if c.backend == "new"]
    assert line.note == "not run: no such thing; nor this"
    message = errors(Own(), "new")
    assert (
        "everything, backend 'new': it cannot run this cell: no such thing; nor this. It was asked for by name."
        in message
    )


# ---------------------------------------------------------------- the door


def test_arguments():
    with pytest.raises(
        TypeError, match=r"check_cell got Linear, but a cell is expected: .* Give the module a state_size\."
    ):
        check_cell(nn.Linear(3, 4))
    cell = Own()
    cell.input_size = None
    with pytest.raises(ValueError, match="check_cell got Own without an input_size"):
        check_cell(cell)
    assert check_cell(cell, input_size=3).problems == []
    with pytest.raises(ValueError, match="check_cell got T=1 and B=3, but at least 2 of each"):
        check_cell(Own(), T=1)
    with pytest.raises(
        ValueError, match=r"check_cell got dtype=torch\.bfloat16, but one of torch\.float64, torch\.float32"
    ):
        check_cell(Own(), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="backend='cuda' is given, one of auto"):
        check_cell(Own(), backends=["cuda"])
