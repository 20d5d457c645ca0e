"""Cells as people write them, with attributes, constants, branches on devices and assignments: compiled where it can be, and
otherwise run by the reference with a warning. Never another result, never an error that the cell itself would not raise."""

from __future__ import annotations

import math
import re
import threading

import pytest
import torch
from tests.checks import assert_same
from torch import nn

import deeplstm
from deeplstm.recurrence import dispatch

IN, H = 3, 4


class Cell(nn.Module):
    """A cell whose step is a function of itself, x and h."""

    state_size, input_size = H, IN

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Linear(IN, H), nn.Linear(H, H)
        self.number, self.vector = torch.tensor(0.5), torch.tensor([0.1, 0.2, 0.3, 0.4])

    def forward(self, x, h):
        new = self.function(self, x, h)
        return new, new


class Steep(torch.autograd.Function):
    """A gradient that is not the derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Mixing(torch.autograd.Function):
    """A gradient that mixes rows."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, gradient):
        return gradient - 0.1 * gradient.sum(0)


def in_place(c, x, h):
    z = c.a(x)
    z += c.b(h)
    return z.tanh_()


def assigned(c, x, h):
    z = x.new_zeros(x.shape[0], H)
    z[:, :2] = c.a(x)[:, :2]
    z[:, 3] = 0.5
    return torch.tanh(z + c.b(h))


def assigned_over(c, x, h):
    new = c.a.bias * h + torch.tanh(c.a(x) + c.b(h)) * c.vector
    new[:, :1] = x[:, :1]
    return new


def filled(c, x, h):
    z, new = torch.empty_like(h), torch.tanh(c.a(x) + c.b(h))
    z[:, :1] = new[:, 1:2]
    z[:, 1:3] = h[:, :2] * new[:, 2:]
    z[:, 3] = new[:, 0]
    return torch.cat([z, new[:, :3]], 1)[:, 1:5]


def gate_without_gradient(c, x, h):
    with torch.no_grad():
        gate = torch.sigmoid(c.b(h))
    return torch.tanh(c.a(x) + h * gate)


def by_device(c, x, h):
    z = c.a(x) + c.b(h)
    return torch.tanh(z) if x.device.type == "cpu" and not x.is_cuda else torch.relu(z)


def heads(c, x, h):
    recurrent = torch.einsum("bhi,hij->bhj", h.view(-1, 2, 2), c.b.weight.view(2, 4, 2)[:, :2])
    return torch.tanh(c.a(x) + recurrent.flatten(1))


def heads_first(c, x, h):
    recurrent = torch.bmm(h.view(-1, 2, 2).transpose(0, 1), c.b.weight.view(2, 2, 4)[:, :, 1:3])
    return torch.tanh(c.a(x) + recurrent.transpose(0, 1).reshape(-1, 4))


def columns_of_weights(c, x, h):
    """Vectors whose numbers do not lie side by side."""
    return torch.tanh(
        c.a(x) + h * c.b.weight[:, 2] + c.b.weight.T[1] * c.b.weight.diagonal() + c.b.weight[0, ::2].sum()
    )


def ranges_of_weights(c, x, h):
    """Ranges of what was cut with steps, or turned in three dimensions."""
    turned = c.b.weight.view(2, 2, 4).permute(2, 0, 1)[:, 1:, :1].flatten(1)  # (4, 1)
    even = c.b.weight[::2][1:]  # (1, 4)
    return torch.tanh(c.a(x) + h @ (turned @ even) + h @ c.b.weight.permute(0, 1)[:, 1:] @ turned[:3])


def masks(c, x, h):
    """Counted, added (which is "or" to torch), multiplied, chosen, and as numbers."""
    high, low = h > -0.1, h < 0.2
    scale = (high + low) * 0.5 + torch.maximum(high, low) + (high * low).exp() + torch.where(low, high, h)
    return torch.tanh(c.a(x) + c.b(h) * scale * 0.1 + high.sum(1, keepdim=True) * 0.1)


def chosen_masks(c, x, h):
    low = (h < 0.2) & torch.tensor(True)
    either = torch.where(torch.where(h > -0.1, low, torch.tensor(True)), c.a(x), c.b(h))
    neither = torch.where(torch.where(h > -0.1, False, True), torch.logical_not(torch.relu(h)), either)
    return torch.tanh(torch.where(torch.relu(x[:, :1]).bool(), neither, either))


def masks_of_weights(c, x, h):
    high = c.b.bias > 0
    scale = high + high.to(h.dtype) + torch.where(high, 0.5, 0.25) + torch.where(high, c.number.to(h.dtype), c.b.bias)
    return torch.where(high | (h > 0), torch.tanh(c.a(x) + c.b(h) * scale), h)


def weights_of_weights(c, x, h):
    """Where numbers stand for whole tensors on the way forward or back."""
    vector = torch.empty_like(c.b.bias)
    vector[:2], vector[2:] = c.b.bias[1:3], 0.5
    blocks = torch.block_diag(c.b.weight[:2, :2], torch.linalg.matrix_exp(c.b.weight[2:, 2:]))
    lower = torch.where(torch.ones(H, H).tril().bool(), c.b.weight, torch.zeros((), dtype=h.dtype))
    even = torch.cat([c.b.weight[::2], c.b.weight[1::2]])
    return torch.tanh(c.a(x) + h @ (blocks + lower + even + torch.diag(vector)) * c.b.bias.sort().values)


def moved_weights(c, x, h):
    return torch.tanh(c.a(x) + c.b(h) * c.b.bias.to(x.device, x.dtype, copy=True))


def sizes(c, x, h):
    """The number of rows handed on as a size, multiplied, and compared with itself."""
    assert x.shape[:1] == h.shape[:1]
    assert x.size(0) == h.size(0)
    rows, flat = x.shape[0], c.a(x).reshape(x.shape[0], 1, math.prod((1, H)))
    z = flat.view(rows, -1) + torch.zeros(rows, H, dtype=h.dtype) + h.new_full((h.size(0), 1), 0.5)
    return torch.tanh(z + c.b(h[:rows]).expand(rows, H))


def sizes_in_place(c, x, h):
    z = h.new_zeros(x.shape[0], H)
    z += c.a(x).view(x.shape)[:, :H] if x.shape == h.shape else c.a(x)
    return torch.tanh(z + c.b(h))


def row_by_row(c, x, h):
    return torch.stack([torch.tanh(c.a(x[row]) + c.b(h[row])) for row in range(x.shape[0])])


def batch_in_place(c, x, h):
    z = c.a(x)
    z += c.b(h)
    return torch.tanh(z) / h.shape[0] ** 0.5


COUNTS = {
    "divided by the batch": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) / x.shape[0],
    "by the square root of the batch": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) * x.size(0) ** -0.5,
    "by how many numbers there are": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) / x.numel(),
    "by how many a shape says": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) / x.shape.numel(),
    "full of the batch": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) + torch.full((x.shape[0], 1), float(x.shape[0])),
    "the batch as a constant": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) * torch.tensor([1, x.shape[0], 2, 3]),
    "by the size of the batch": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) if x.size(0) > 1 else h,
    "by whether it is three": lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) if x.shape == (3, IN) else h,
    "the batch in place": batch_in_place,
}


class Ones:
    """Constants that look like one number and are several."""

    total = staticmethod(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * torch.ones(H).sum() / 8))
    along = staticmethod(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * torch.ones(H).cumsum(0) / 8))
    wide = staticmethod(lambda c, x, h: torch.tanh(c.a(x) + h @ (torch.ones(H, 1) * torch.arange(H) / 9).double()))


COMPILED = {
    "columns of weights": columns_of_weights,
    "ranges of weights": ranges_of_weights,
    "masks": masks,
    "chosen masks": chosen_masks,
    "masks of weights": masks_of_weights,
    "weights of weights": weights_of_weights,
    "weights moved": moved_weights,
    "item of an attribute": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * c.number.item()),
    "float of an attribute": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * float(c.number)),
    "a number as an attribute": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * c.number),
    "a vector as an attribute": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * c.vector),
    "a constant": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * x.new_tensor(0.25)),
    "constants": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * torch.tensor([0.1, 0.2, 0.3, 0.4])),
    "arange": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * (torch.arange(H) // 2 + 1)),
    "eye": lambda c, x, h: torch.tanh(c.a(x) + h @ (torch.eye(H, dtype=x.dtype) * 0.9 - c.b.weight)),
    "antisymmetric": lambda c, x, h: torch.tanh(c.a(x) + h @ (c.b.weight.triu(1) - c.b.weight.triu(1).T)),
    "a constant mask": lambda c, x, h: torch.where(
        torch.tensor([True, False] * 2), torch.tanh(c.a(x) + c.b(h)), h * 0.5
    ),
    "a tensor made on the device": lambda c, x, h: torch.tanh(c.a(x) + c.b(h) + torch.ones(1, H, device=x.device)),
    "a derivative of one's own": lambda c, x, h: Steep.apply(c.a(x) + c.b(h)),
    "a detached state": lambda c, x, h: torch.tanh(c.a(x) + c.b(h.detach())),
    "masked_fill": lambda c, x, h: (c.a(x) + c.b(h)).masked_fill(h > 0.5, 0.5),
    "einsum of two": lambda c, x, h: torch.tanh(c.a(x) + torch.einsum("bi,oi->bo", h, c.b.weight)),
    "heads": heads,
    "heads first": heads_first,
    "in place": in_place,
    "assigned columns": assigned,
    "columns assigned over": assigned_over,
    "columns filled one by one": filled,
    "a gate without a gradient": gate_without_gradient,
    "by device": by_device,
    "a derivative that torch computes in place": lambda c, x, h: torch.lerp(
        h, torch.tanh(c.a(x) + c.b(h)), torch.sigmoid(c.b.bias)
    ),
    "sizes": sizes,
    "sizes in place": sizes_in_place,
    "a sum of ones": Ones.total,
    "ones added up": Ones.along,
    "ones times numbers": Ones.wide,
}

LEFT = {
    **{name: (function, "the number of rows as a number, not as a size, at") for name, function in COUNTS.items()},
    "the length of a tensor": (
        lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) / len(x),
        "len() of a tensor with rows (x.shape[0] is the same)",
    ),
    "row by row": (row_by_row, "one row of the batch"),
    "whole numbers of weights": (
        lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * (c.b.bias * 3).int()),
        "weights as torch.int32",
    ),
    "halved weights": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * c.b.bias.half()), "weights as torch.float16"),
    "picked weights": (
        lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * c.b.bias[torch.tensor([2, 0, 1, 3])]),
        "a constant of torch.int64",
    ),
    "by value": (
        lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) if x.sum() > 0 else h,
        "a branch on the values of tensors",
    ),
    "as numpy": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) * float(x.detach().numpy().shape[1]), ".numpy()"),
    "as a list": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h)) * (len(x.tolist()) > 0), ".tolist()"),
    "cumsum": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h)).cumsum(1) * 0.1, "aten.cumsum"),
    "a sum over the batch": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h) - h.sum(0)), "a sum over the batch"),
    "a sum of everything": (lambda c, x, h: torch.tanh(c.a(x) * x.sum() + c.b(h)), "a sum over the batch"),
    "a sum without a gradient": (
        lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * (h.detach().sum(0, keepdim=True) @ c.b.weight)),
        "a sum over the batch",
    ),
    "products over the batch": (
        lambda c, x, h: torch.tanh(c.a(x) + h @ torch.einsum("bi,bj->ij", h, h)),
        "a sum over the batch",
    ),
    "a sum over the batch in a derivative": (lambda c, x, h: Mixing.apply(c.a(x) + c.b(h)), "a sum over the batch"),
    "its own noise": (
        lambda c, x, h: torch.tanh(c.a(x) + nn.functional.dropout(c.b(h), 0.5, c.training)),
        "random numbers",
    ),
    "a number of its own": (lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * torch.rand(())), "random numbers"),
    "a large constant": (
        lambda c, x, h: torch.tanh(c.a(x) + (h @ torch.linspace(0, 1, 5000, dtype=h.dtype).view(4, -1))[:, :4]),
        "registered as a buffer",
    ),
}


@pytest.fixture(autouse=True)
def every_backend(monkeypatch):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")
    monkeypatch.setattr(dispatch, "_warned", set())  # each warning is given once


def runs(cell, backend, x):
    def call():
        with deeplstm.backend(backend):
            return deeplstm.Recurrent(cell)(x)

    return call


def cell_and_x(function):
    torch.manual_seed(0)
    return Cell(function).double(), torch.randn(6, 3, IN, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("function", COMPILED.values(), ids=COMPILED)
def test_it_is_compiled(function):
    cell, x = cell_and_x(function)
    assert_same(runs(cell, "cpu", x), runs(cell, "reference", x), [x, *cell.parameters()])


class WithoutWeights(nn.Module):
    state_size = input_size = H

    def forward(self, x, h):
        new = torch.tanh(x + h @ torch.tensor([[0.1, 0.2, 0.3, 0.4]] * H, dtype=h.dtype))
        return new, new


def test_constants_are_of_the_inputs_type_where_no_weight_tells():
    x = torch.randn(6, 3, H, dtype=torch.float64, requires_grad=True)
    assert_same(runs(WithoutWeights(), "cpu", x), runs(WithoutWeights(), "reference", x), [x])
    y, _ = runs(WithoutWeights(), "reference", x)()
    stream = deeplstm.Stream(deeplstm.Recurrent(WithoutWeights()), batch=3)
    torch.testing.assert_close(stream.feed(x.detach().float()), y.detach().float())


@pytest.mark.parametrize(("function", "what"), LEFT.values(), ids=LEFT)
def test_it_is_left_to_the_reference(function, what):
    cell, x = cell_and_x(function)
    with pytest.warns(UserWarning, match="runs on the reference") as warned:
        deeplstm.Recurrent(cell)(x)
    assert what in str(warned[0].message)
    if what == "random numbers":
        return
    assert_same(runs(cell, "auto", x), runs(cell, "reference", x), [x, *cell.parameters()])


def test_an_attribute_that_changes_is_read_anew():
    cell, x = cell_and_x(COMPILED["a vector as an attribute"])
    before = runs(cell, "cpu", x)()[0]
    cell.vector.mul_(2)
    after = runs(cell, "cpu", x)()[0]
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, runs(cell, "reference", x)()[0])


def test_a_cell_that_is_wrong_raises_its_own_error():
    cell, x = cell_and_x(lambda c, x, h: torch.tanh(c.a(x) + c.b(x)))
    with (
        pytest.warns(UserWarning, match="runs on the reference"),
        pytest.raises(RuntimeError, match="mat1 and mat2 shapes"),
    ):
        runs(cell, "auto", x)()


def test_what_is_of_the_inputs_dtype_is_of_it_in_bfloat16():
    torch.manual_seed(0)
    cell, x = Cell(masks_of_weights), torch.randn(6, 3, IN)
    wanted = runs(cell.double(), "reference", x.double())()[0]
    got = runs(cell.bfloat16(), "cpu", x.bfloat16())()[0]
    torch.testing.assert_close(got.double(), wanted, rtol=0.05, atol=0.05)


class WithOutput(Cell):
    """A cell whose output is not its new state."""

    def forward(self, x, h):
        return self.function(self, x, h)


@pytest.mark.parametrize(
    "function",
    [
        lambda c, x, h: (torch.tanh(h), c.a(x) + c.b(h)),
        lambda c, x, h: (x, c.a(x) + c.b(h)),
        lambda c, x, h: (h * 0.5, torch.cat([x, x[:, :1]], 1) + h),
        lambda c, x, h: (h[:, :2].sin(), torch.cat([c.b(h)[:, :2] + x[:, :2], h[:, :2] * c.b.weight[0, :2]], 1)),
    ],
    ids=["linear", "input as output", "sum", "by columns"],
)
def test_gradients_of_nothing_but_the_next_steps_state(function):
    torch.manual_seed(0)
    cell, x = WithOutput(function).double(), torch.randn(6, 3, IN, dtype=torch.float64, requires_grad=True)
    assert_same(runs(cell, "cpu", x), runs(cell, "reference", x), [x, *cell.parameters()])


# ---------------------------------------------------------------- what a cell holds beside weights

FAR = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64, requires_grad=True)
"""What a cell's code reads past the cell."""


def plain(c, x, h):
    return torch.tanh(c.a(x) + c.b(h))


def holding(function, **held):
    def make():
        torch.manual_seed(0)
        cell = Cell(function)
        for name, value in held.items():
            setattr(cell, name, value(cell) if callable(value) else value)
        return cell.double()

    return make


def with_buffer(function, value):
    def make():
        torch.manual_seed(0)
        cell = Cell(function).double()
        cell.register_buffer("n", value.clone())
        return cell

    return make


def leaf():
    return torch.rand(4, dtype=torch.float64, requires_grad=True)


HELD = {
    "a tensor with a gradient": (
        holding(lambda c, x, h: plain(c, x, h) * c.loose, loose=leaf()),
        "a parameter or requires grad",
    ),
    "one in a dict": (
        holding(lambda c, x, h: plain(c, x, h) * c.loose["a"], loose={"a": leaf()}),
        "a parameter or requires grad",
    ),
    "one beside what works in place": (
        holding(lambda c, x, h: (c.a(x) + c.b(h) * c.loose).mul_(0.5), loose=leaf()),
        "a parameter or requires grad",
    ),
    "one from elsewhere": (holding(lambda c, x, h: plain(c, x, h) * FAR), "test_users_cells.py"),
    "a weight read past the cell": (
        holding(lambda c, x, h: plain(c, x, h) * c.past(), past=lambda c: lambda: c.b.bias),
        "a parameter or requires grad",
    ),
    "what was made of a weight": (
        holding(lambda c, x, h: plain(c, x, h) * c.made.detach(), made=lambda c: c.a.weight[:, 0].double() * 2),
        "'made', a tensor with a gradient",
    ),
    "a lock": (holding(plain, lock=threading.Lock()), "the attribute 'lock', which cannot be copied: TypeError"),
    "a generator": (holding(plain, numbers=(n for n in range(3))), "the attribute 'numbers', which cannot be copied"),
    "an index buffer": (
        with_buffer(lambda c, x, h: plain(c, x, h)[:, c.n], torch.tensor([2, 0, 1, 3])),
        "a constant of torch.int64",
    ),
    "a buffer of another dtype": (
        with_buffer(lambda c, x, h: plain(c, x, h) * c.n.to(h.dtype), torch.tensor(0.5, dtype=torch.float32)),
        "another dtype than the input: 'n' is torch.float32, the input torch.float64",
    ),
}


@pytest.mark.parametrize(("make", "what"), HELD.values(), ids=HELD)
def test_what_a_cell_holds_may_leave_it_to_the_reference(make, what):
    cell, x = make(), torch.randn(6, 3, IN, dtype=torch.float64, requires_grad=True)
    with pytest.raises(deeplstm.BackendUnavailable, match=re.escape(what)):
        runs(cell, "cpu", x)()
    loose = [t for t in (getattr(cell, "loose", None),) if isinstance(t, torch.Tensor)]
    with pytest.warns(UserWarning, match=re.escape(what)):
        assert_same(runs(cell, "auto", x), runs(cell, "reference", x), [x, *cell.parameters(), *loose])


def test_a_tensor_that_comes_to_require_a_gradient_gets_one():
    cell, x = cell_and_x(COMPILED["a vector as an attribute"])
    cell.vector = cell.vector.double()
    runs(cell, "cpu", x)()
    cell.vector.requires_grad_()
    with pytest.warns(UserWarning, match="a parameter or requires grad"):
        runs(cell, "auto", x)()[0].sum().backward()
    assert cell.vector.grad is not None


BUFFERS = {
    "never read": (plain, torch.tensor(3)),
    "of real numbers and never read": (plain, torch.tensor(3.0, dtype=torch.float32)),
    "a count": (lambda c, x, h: plain(c, x, h) * c.n * 0.2, torch.tensor(3)),
    "counts": (lambda c, x, h: plain(c, x, h) * c.n * 0.2, torch.arange(4)),
    "a mask": (lambda c, x, h: torch.where(c.n, plain(c, x, h), h), torch.tensor([True, False] * 2)),
    "a flag": (lambda c, x, h: plain(c, x, h) if c.n else c.a(x) * h, torch.tensor(True)),
}


@pytest.mark.parametrize(("function", "value"), BUFFERS.values(), ids=BUFFERS)
def test_buffers_of_other_dtypes_are_constants_and_read_anew(function, value):
    cell, x = with_buffer(function, value)(), torch.randn(6, 3, IN, dtype=torch.float64, requires_grad=True)
    inputs = [x, cell.a.weight, cell.a.bias]
    for _ in range(2):
        assert_same(runs(cell, "cpu", x), runs(cell, "reference", x), inputs)
        cell.n.copy_(cell.n == 0 if cell.n.dtype == torch.bool else cell.n + 1)


def test_a_buffer_that_is_never_read_is_not_compiled_for(monkeypatch):
    cell, x = with_buffer(plain, torch.tensor(3))(), torch.randn(6, 3, IN, dtype=torch.float64)
    runs(cell, "cpu", x)()
    monkeypatch.setattr("deeplstm.recurrence.backends.cpu.programs.capture", None)
    cell.n += 1
    runs(cell, "cpu", x)()


class LooksUp(nn.Module):
    state_size = H

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, H)

    def forward(self, x, h):
        new = torch.tanh(self.table(x) + h)
        return new, new


def test_whole_numbers_as_an_input_are_spoken_of():
    with pytest.warns(UserWarning, match=r"LooksUp runs on the reference.*an input of torch\.int64"):
        deeplstm.Recurrent(LooksUp())(torch.randint(0, 5, (6, 3)))


def test_tied_weights():
    cell, x = cell_and_x(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) + c.c(torch.sigmoid(h))))
    cell.c = nn.Linear(H, H).double()
    cell.c.weight = cell.b.weight
    weights = list(cell.parameters())
    assert_same(runs(cell, "cpu", x), runs(cell, "reference", x), [x, *weights])

    def twice(backend):
        slopes = torch.autograd.grad(runs(cell, backend, x)()[0].sin().sum(), [x, *weights], create_graph=True)
        return torch.autograd.grad(sum(slope.square().sum() for slope in slopes), [x, *weights])

    torch.testing.assert_close(twice("cpu"), twice("reference"))


def test_what_stands_in_the_place_of_one_tied_weight_stands_in_that_of_the_other():
    cell, x = cell_and_x(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) + c.c(torch.sigmoid(h))))
    cell.c = nn.Linear(H, H).double()
    cell.c.weight = cell.b.weight
    other, h = torch.randn(H, H, dtype=torch.float64), torch.zeros(3, H, dtype=torch.float64)
    found = [deeplstm.scan(cell, {"b.weight": other}, x, h, backend=b)[0] for b in ("cpu", "reference")]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["b.weight", "again.weight"])
def test_a_module_with_two_names(name):
    cell, x = cell_and_x(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) + c.again(torch.sigmoid(h))))
    cell.again = cell.b
    assert_same(runs(cell, "cpu", x), runs(cell, "reference", x), [x, *cell.parameters()])
    before, other = cell.b.weight, torch.zeros(H, H, dtype=torch.float64)
    h = torch.ones(3, H, dtype=torch.float64)
    if name == "again.weight":
        with pytest.warns(UserWarning, match="second name of a module"):
            found = deeplstm.scan(cell, {name: other}, x, h)[0]
    else:
        found = deeplstm.scan(cell, {name: other}, x, h, backend="cpu")[0]
    torch.testing.assert_close(found, deeplstm.scan(cell, {name: other}, x, h, backend="reference")[0])
    assert cell.b.weight is before
    with torch.no_grad():
        cell.b.weight.zero_()
    torch.testing.assert_close(found, deeplstm.scan(cell, None, x, h, backend="reference")[0])


def test_a_weight_that_is_never_read_has_no_gradient():
    cell, x = cell_and_x(lambda c, x, h: torch.tanh(c.a(x) * h))
    runs(cell, "cpu", x)()[0].sum().backward()
    assert cell.b.weight.grad is None
    assert cell.a.weight.grad is not None


# ---------------------------------------------------------------- hooks

HOOKS = {
    "forward": lambda m, seen: m.register_forward_hook(lambda m, i, o: seen.append(o) or o * 2),
    "pre-forward": lambda m, seen: m.register_forward_pre_hook(lambda m, i: seen.append(i) or (i[0] * 2,)),
    "backward": lambda m, seen: m.register_full_backward_hook(lambda m, i, o: seen.append(i) or (i[0] * 2,)),
    "pre-backward": lambda m, seen: m.register_full_backward_pre_hook(lambda m, o: seen.append(o) or (o[0] * 2,)),
}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize("is_there_first", [True, False])
def test_hooks_run_at_every_step(hook, is_there_first):
    cell, x = cell_and_x(plain)
    if not is_there_first:
        runs(cell, "cpu", x)()
    seen = []
    handle = hook(cell.a, seen)
    with pytest.warns(UserWarning, match=r"programs lack hooks, and its Linear 'a' has a .*hook"):
        runs(cell, "auto", x)()[0].sum().backward()
    assert len(seen) == len(x)
    assert_same(runs(cell, "auto", x), runs(cell, "reference", x), [x, *cell.parameters()])
    with pytest.raises(deeplstm.BackendUnavailable, match="programs lack hooks"):
        runs(cell, "cpu", x)()
    handle.remove()
    runs(cell, "cpu", x)()


def test_hooks_on_all_modules_run():
    cell, x = cell_and_x(plain)
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m)))
    try:
        with pytest.warns(UserWarning, match="hooks on all modules"):
            runs(cell, "auto", x)()
    finally:
        handle.remove()
    assert seen.count(nn.Linear) == 2 * len(x)
    runs(cell, "cpu", x)()


def test_looking_on_changes_no_choice():
    cell, x = cell_and_x(plain)
    layer = deeplstm.Recurrent(cell)
    (choice,) = deeplstm.explain(layer, x).choices
    assert choice.backend == "cpu"
    with deeplstm.backend("cpu"):
        deeplstm.trace(layer, x)


def test_a_forward_of_its_own_that_reads_a_weight_past_the_module():
    cell, x = cell_and_x(plain)
    runs(cell, "cpu", x)()
    cell.a.forward = lambda x: nn.functional.linear(x, cell.a.weight) * 2
    with pytest.warns(UserWarning, match="a parameter or requires grad"):
        assert_same(runs(cell, "auto", x), runs(cell, "reference", x), [x, cell.a.weight, *cell.b.parameters()])
