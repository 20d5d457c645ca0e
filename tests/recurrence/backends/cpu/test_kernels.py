"""Generated kernels: every cell equals the reference, with its lengths, resets, both directions and gradients."""

import copy
import ctypes
import math
import threading
import warnings

import pytest
import torch
from torch import nn

from checks import assert_same, flat, state_of
from deeplstm import BackendUnavailable, GRUCell, LSTMCell, RNNCell, backend, scan
from deeplstm.recurrence import dispatch
from deeplstm.recurrence.backends.cpu import pool, threads
from deeplstm.recurrence.backends.cpu.address import Address
from deeplstm.recurrence.backends.cpu.space import Block, Space
from table import CELLS, FORMS, SHAPES, Shape, cells, shapes

TOLERANCE = {torch.float64: {"rtol": 1e-9, "atol": 1e-10}, torch.float32: {"rtol": 1e-3, "atol": 2e-4}}
UNEQUAL = Shape("unequal", 5, 4, 3, 5, (3, 5, 0, 4))
FEW = [case for case in CELLS if case.name in ("LSTMCell-plain", "LSTMCell-norm", "GRUCell-original", "RNNCell-deep")]


def call(cell, shape, name, *, x, state, noise, **options):
    return scan(cell, None, x, state, noise=noise, lengths=shape.lengths, backend=name, **options)


def assert_equals_the_reference(case, shape, dtype, *, training=True, **options):
    cell = case.cell(shape.I, shape.H, **case.options).to(dtype).train(training)
    x = torch.randn(shape.T, shape.B, shape.I, dtype=dtype, requires_grad=True)
    state, initial = state_of(cell, shape.B, dtype), state_of(cell, shape.B, dtype)
    if "resets" in options:
        options["initial"] = initial
    given = {"x": x, "state": state, "noise": cell.draw_noise(shape.T, shape.B, like=x), **options}
    runs = [lambda n=n: call(cell, shape, n, **given) for n in ("cpu", "reference")]
    inputs = [x, *flat(state), *(flat(initial) if "resets" in options else []), *cell.parameters()]
    assert_same(*runs, inputs, **TOLERANCE[dtype])


@cells()
def test_every_cell_with_lengths(case):
    assert_equals_the_reference(case, UNEQUAL, torch.float64)


@cells()
def test_every_cell_on_one_row(case):
    """Where masks that are the same at every step are one row in memory for all steps."""
    assert_equals_the_reference(case, Shape("one row", 5, 1, 3, 5), torch.float64)


def test_states_that_are_one_row_in_memory():
    cell, x = LSTMCell(3, 5).double(), torch.randn(6, 4, 3, dtype=torch.float64)
    state, initial = (
        tuple(torch.randn(1, 5, dtype=torch.float64).expand(4, 5).requires_grad_() for _ in range(2)) for _ in range(2)
    )
    options = {"noise": {}, "initial": initial, "resets": torch.rand(6, 4) < 0.4}
    runs = [lambda n=n: scan(cell, None, x, state, backend=n, **options) for n in ("cpu", "reference")]
    assert_same(*runs, [*state, *initial, *cell.parameters()], **TOLERANCE[torch.float64])


@shapes([shape for shape in SHAPES if shape.T and shape.B and shape.lengths != (0, 0)])
@cells(FEW)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_shape(case, shape, reverse):
    assert_equals_the_reference(case, shape, torch.float64, reverse=reverse, training=False)


@cells(FEW)
@pytest.mark.parametrize("reverse", [False, True])
def test_resets(case, reverse):
    for shape in (UNEQUAL, Shape("equal", 6, 3, 3, 5)):
        resets = torch.rand(shape.T, shape.B) < 0.4
        assert_equals_the_reference(case, shape, torch.float64, resets=resets, reverse=reverse)


@cells(FORMS)
def test_programs_of_every_form(case):
    """As they are, with lengths in reverse, and with resets and a trace."""
    for shape, options in (
        (Shape("equal", 7, 3, 3, 4), {}),
        (UNEQUAL, {"reverse": True, "memory": "recompute"}),
        (UNEQUAL, {"resets": torch.rand(UNEQUAL.T, UNEQUAL.B) < 0.4, "trace": ["new"]}),
    ):
        assert_equals_the_reference(case, shape, torch.float64, **options)


@cells(FEW)
def test_single_precision(case):
    assert_equals_the_reference(case, Shape("large", 5, 9, 40, 50), torch.float32)


@cells(FEW)
@pytest.mark.parametrize("B", [1, 3, 4])
def test_panels_of_few_rows_side_by_side(case, B):
    """More panels than a tile has room for at once."""
    assert_equals_the_reference(case, Shape("wide", 3, B, 5, 150), torch.float64)


def test_rows_4096_bytes_apart():
    """A product of large weights: cut by how many such rows the first cache can hold."""
    case = next(case for case in CELLS if case.name == "RNNCell-plain")
    assert_equals_the_reference(case, Shape("large", 2, 11, 8, 1024), torch.float32)


@cells(FEW)
def test_bfloat16_is_stored_and_summed_wider(case):
    """The error against float64 is at most twice that of torch's own equations in bfloat16."""
    cell = case.make(8, 16, torch.bfloat16)
    weights = {name: p.double() for name, p in cell.named_parameters()}
    x, state = torch.randn(12, 3, 8).bfloat16(), zeros(cell, 3, torch.bfloat16)
    exact = scan(cell, weights, x.double(), zeros(cell, 3, torch.float64), noise={}, backend="reference")[0]
    ours, theirs = (
        (scan(cell, None, x, state, noise={}, backend=name)[0].double() - exact).abs().max().item()
        for name in ("cpu", "reference")
    )
    assert 0 < ours <= 2 * theirs + 1e-2


@cells(FEW)
def test_the_error_is_at_most_twice_that_of_torch(case):
    """The mean error against float64, over draws: that of one number is chance."""
    ours = theirs = 0.0
    cell = case.cell(24, 32, **case.options)
    weights = {name: p.double() for name, p in cell.named_parameters()}
    for _ in range(8):
        x, state = torch.randn(30, 5, 24), state_of(cell, 5, torch.float32, False)
        wide = tuple(s.double() for s in flat(state))
        wide = wide if isinstance(state, tuple) else wide[0]
        exact = scan(cell, weights, x.double(), wide, noise={}, backend="reference")[0]
        errors = [
            (scan(cell, None, x, state, noise={}, backend=name)[0].double() - exact).abs().mean().item()
            for name in ("cpu", "reference")
        ]
        ours, theirs = ours + errors[0], theirs + errors[1]
    assert 0 < ours <= 2 * theirs


def test_long_sums_are_as_exact_as_torchs():
    """Of outputs and every gradient, where products sum over 2,000 numbers."""
    cell, x = LSTMCell(500, 500), torch.randn(6, 8, 500, requires_grad=True)
    upstream = torch.randn(6, 8, 500)

    def errors(name, exact):
        y, _ = scan(cell, None, x, zeros(cell, 8), noise={}, backend=name)
        given = [y, *torch.autograd.grad(y, [x, *cell.parameters()], upstream)]
        return [(a.double() - b).abs().mean().item() for a, b in zip(given, exact, strict=True)]

    wide = copy.deepcopy(cell).double()
    inputs = x.detach().double().requires_grad_()
    y, _ = scan(wide, None, inputs, zeros(wide, 8, torch.float64), noise={}, backend="reference")
    exact = [y, *torch.autograd.grad(y, [inputs, *wide.parameters()], upstream.double())]
    found = {name: errors(name, exact) for name in ("cpu", "reference")}
    assert all(0 < ours <= 2 * theirs for ours, theirs in zip(*found.values(), strict=True))


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 0)
    cell = LSTMCell(17, 33, norm=True)
    x = torch.randn(9, 13, 17, requires_grad=True)
    lengths = torch.randint(0, 10, (13,))
    found = []
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 5):
            monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
            y, state = scan(cell, None, x, zeros(cell, 13), noise={}, lengths=lengths, backend="cpu")
            found.append([y, *state, torch.autograd.grad(y.square().sum(), x)[0]])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def zeros(cell, B, dtype=torch.float32):
    sizes = cell.state_size
    parts = [torch.zeros(B, size, dtype=dtype) for size in (sizes if isinstance(sizes, tuple) else [sizes])]
    return tuple(parts) if isinstance(sizes, tuple) else parts[0]


def test_rows_are_shared_out_whole_and_by_their_steps():
    assert threads.share(10, 8, None) == [0, 8], "little work stays on one thread"
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert threads.share(10**9, 8, None) == [0, 4, 8]
        assert threads.share(10**9, 1, None) == [0, 1]
        assert threads.share(10**9, 4, [9, 1, 1, 1]) == [0, 1, 4]
    finally:
        torch.set_num_threads(before)


@cells(FEW)
def test_second_derivatives_are_right(case):
    cell = case.make().eval()
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for name in ("cpu", "reference"):
        y, _ = scan(cell, None, x, zeros(cell, 2, torch.float64), noise={}, backend=name)
        (slope,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *cell.parameters()], allow_unused=True))
    torch.testing.assert_close(*found)


def test_what_is_wanted_alone_is_computed():
    """Frozen weights, an input without gradient, an upstream gradient of the state alone."""
    cell = LSTMCell(3, 4).double()
    cell.weight_ih.requires_grad_(False)
    x, state = torch.randn(5, 2, 3, dtype=torch.float64), state_of(cell, 2)
    found = []
    for name in ("cpu", "reference"):
        final = scan(cell, None, x, state, noise={}, backend=name)[1]
        found.append(torch.autograd.grad(final[1].sum(), [cell.weight_hh, cell.bias_ih, *state]))
        found[-1] = [
            *found[-1],
            *torch.autograd.grad(scan(cell, None, x, state, noise={}, backend=name)[0].sum(), state),
        ]
    torch.testing.assert_close(*found)
    y, _ = scan(cell.requires_grad_(False), None, x, [s.detach() for s in state], noise={}, backend="cpu")
    assert not y.requires_grad


def test_a_backward_can_be_run_again():
    cell, x = GRUCell(3, 4), torch.randn(4, 2, 3, requires_grad=True)
    y, _ = scan(cell, None, x, torch.zeros(2, 4), noise={}, backend="cpu")
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(y.sum(), x)[0])


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize("what", ["resets", "noise"])
def test_masks_that_change_before_the_backward_raise(name, what):
    cell, x = LSTMCell(3, 4, zoneout=0.3), torch.randn(5, 2, 3, requires_grad=True)
    masks = {"resets": torch.rand(5, 2) < 0.4, "noise": cell.draw_noise(5, 2, like=x)}
    y, _ = scan(cell, None, x, zeros(cell, 2), backend=name, **masks)
    (masks["resets"] if what == "resets" else next(iter(masks["noise"].values()))).logical_not_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_lengths_may_change_after_the_forward(name):
    cell, x, lengths = GRUCell(3, 4), torch.randn(5, 2, 3, requires_grad=True), torch.tensor([4, 2])
    found = []
    for after in ([4, 2], [1, 0]):
        _, final = scan(cell, None, x, zeros(cell, 2), noise={}, lengths=lengths, backend=name)
        lengths.copy_(torch.tensor(after))
        found.append(torch.autograd.grad(final.sum(), [x, *cell.parameters()]))
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_nan_stays_in_its_row_and_beyond_a_length_it_changes_nothing():
    cell = LSTMCell(3, 5, norm=True)
    x = torch.randn(6, 4, 3)
    clean, _ = scan(cell, None, x, zeros(cell, 4), noise={}, backend="cpu")
    spoilt = x.clone()
    spoilt[2, 1] = float("nan")
    y, _ = scan(cell, None, spoilt, zeros(cell, 4), noise={}, backend="cpu")
    assert bool(y[2:, 1].isnan().all())
    assert torch.equal(y[:, [0, 2, 3]], clean[:, [0, 2, 3]])
    spoilt.requires_grad_()
    y, _ = scan(cell, None, spoilt, zeros(cell, 4), noise={}, lengths=[6, 2, 6, 6], backend="cpu")
    (dx,) = torch.autograd.grad(y.sum(), [spoilt])
    assert bool(y.isfinite().all())
    assert bool(dx.isfinite().all())


@pytest.mark.parametrize(
    "cell", [LSTMCell(3, 5), GRUCell(3, 5), RNNCell(3, 5), LSTMCell(3, 5, gate_layers=(7,))], ids=repr
)
def test_huge_values_give_no_nan(cell):
    x = torch.full((4, 2, 3), 1e4, requires_grad=True)
    y, _ = scan(cell, None, x, zeros(cell, 2), noise={}, backend="cpu")
    for value in (y, *torch.autograd.grad(y.sum(), [x, *cell.parameters()])):
        assert bool(value.isfinite().all())


def test_threads_of_python_share_a_cell():
    cell, x = LSTMCell(8, 8), torch.randn(20, 3, 8)
    want = scan(cell, None, x, zeros(cell, 3), noise={}, backend="reference")[0]
    found = {}

    def work(n):
        for _ in range(5):
            found[n] = scan(cell, None, x, zeros(cell, 3), noise={}, backend="cpu")[0]

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for y in found.values():
        torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-5)


def test_a_cell_that_changes_is_captured_anew():
    class Leaky(nn.Module):
        state_size = 4

        def __init__(self):
            super().__init__()
            self.keep = 0.5

        def forward(self, x, state):
            new = self.keep * state + x
            return new, new

    cell, x = Leaky(), torch.randn(5, 2, 4)
    for keep in (0.5, 0.9):
        cell.keep = keep
        runs = [scan(cell, None, x, torch.ones(2, 4), backend=name)[0] for name in ("cpu", "reference")]
        torch.testing.assert_close(*runs)


class Dense(nn.Module):
    state_size = 4

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.options = {"scale": 1.0}

    def forward(self, x, state):
        new = torch.tanh(self.inner(x + state)) * self.options["scale"]
        return new, new


CHANGES = {
    "another module": lambda cell: setattr(cell, "inner", nn.Linear(4, 4)),
    "no bias": lambda cell: setattr(cell.inner, "bias", None),
    "another parameter": lambda cell: setattr(cell.inner, "weight", nn.Parameter(torch.randn(4, 4))),
    "weight norm": lambda cell: nn.utils.parametrizations.weight_norm(cell.inner),
    "a number in a dict": lambda cell: cell.options.update(scale=0.5),
    "values alone": lambda cell: cell.inner.weight.data.mul_(3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_cell_that_is_changed_after_a_call_is_never_run_as_it_was(change):
    cell, x = Dense(), torch.randn(5, 2, 4)
    scan(cell, None, x, torch.zeros(2, 4), backend="cpu")
    change(cell)
    found = []
    for name in ("cpu", "reference"):
        y, _ = scan(cell, None, x, torch.zeros(2, 4), backend=name)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(cell.parameters()))])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


class Delay(nn.Module):
    """Keeps the last two inputs: its new state is what comes in."""

    state_size = (3, 3)

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x, state):
        return self.linear(torch.cat([state[1], x], 1)), (x, state[0])


@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=str)
def test_a_state_that_is_the_input(lengths):
    cell, x = Delay().double(), torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    runs = [lambda n=n: scan(cell, None, x, state, lengths=lengths, backend=n) for n in ("cpu", "reference")]
    assert_same(*runs, [x, *state, *cell.parameters()], **TOLERANCE[torch.float64])
    with torch.no_grad():
        torch.testing.assert_close(runs[0](), runs[1]())


class Sorted(nn.Module):
    """Uses what no program has."""

    state_size = 4

    def forward(self, x, state):
        new = torch.sort(x + state, dim=1).values
        return new, new


def test_what_has_no_program_runs_on_the_reference_with_one_warning(monkeypatch):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")
    dispatch._warned.clear()
    cell, x = Sorted(), torch.randn(3, 2, 4)
    with pytest.warns(UserWarning, match=r"Sorted runs on the reference backend.*aten\.sort.*test_kernels\.py"):
        scan(cell, None, x, torch.zeros(2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(cell, None, x, torch.zeros(2, 4))
        with backend("reference"):
            scan(Sorted(), None, x, torch.zeros(2, 4))
    with pytest.raises(BackendUnavailable, match=r"programs lack the operator aten\.sort"):
        scan(cell, None, x, torch.zeros(2, 4), backend="cpu")


def test_auto_takes_kernels_for_what_torch_does_not_know(monkeypatch):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")

    def used(cell, x):
        with dispatch.recording(lambda: "here") as records:
            scan(cell, None, x, zeros(cell, x.shape[1]), noise={})
        return records[0].backend, records[0].passed_over

    few, many = torch.randn(3, 2, 8), torch.randn(100, 32, 8)
    assert used(LSTMCell(8, 8, norm=True), few) == ("cpu", {})
    assert used(LSTMCell(8, 8), few) == ("torch", {"cpu": ["torch's kernel is faster for so little work"]})
    assert used(LSTMCell(8, 64), many) == ("cpu", {})
    with torch.no_grad():
        assert used(LSTMCell(8, 64), many) == ("cpu", {})
        large = "torch's kernel is faster for such large products of few rows without a backward"
        assert used(LSTMCell(8, 600), torch.randn(2, 20, 8)) == ("torch", {"cpu": [large]})
        assert used(LSTMCell(8, 600), torch.randn(2, 32, 8)) == ("cpu", {})
        assert used(LSTMCell(8, 8), torch.randn(200, 1, 8)) == ("cpu", {}), "torch waits at every step"
        assert used(LSTMCell(8, 64, norm=True), many) == ("cpu", {})


REFUSED = [
    ({"x": torch.zeros(0, 2, 3)}, "there is no row with a step"),
    ({"x": torch.zeros(4, 2, 3).half()}, "float16, float32, float64 and bfloat16 have kernels"),
    ({"x": torch.zeros(4, 2, 3).double()}, "the weights or the state are torch.float32"),
    ({"lengths": [0, 0]}, "there is no row with a step"),
]


@pytest.mark.parametrize(("given", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_it_cannot_run_it_says(given, reason):
    arguments = {"x": torch.zeros(4, 2, 3), "lengths": None, **given}
    state = arguments["x"].new_zeros(2, 4)
    with pytest.raises(BackendUnavailable, match=reason):
        scan(RNNCell(3, 4), None, arguments["x"], state, lengths=arguments["lengths"], backend="cpu")


def test_a_function_is_not_compiled():
    with pytest.raises(BackendUnavailable, match="kernels are generated for cells"):
        scan(lambda params, x, h: (h, h), {}, torch.zeros(3, 2, 4), torch.zeros(2, 4), backend="cpu")


def test_transforms_and_autocast_go_elsewhere():
    cell, x = RNNCell(3, 4), torch.zeros(3, 2, 3)

    def total(x):
        return scan(cell, None, x, torch.zeros(2, 4), noise={}, backend="cpu")[0].sum()

    with pytest.raises(BackendUnavailable, match=r"torch\.func's transforms"):
        torch.func.grad(total)(x)
    with pytest.raises(BackendUnavailable, match="autocast is on"), torch.autocast("cpu", dtype=torch.bfloat16):
        total(x)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(BackendUnavailable, match="forward-mode"):
        total(torch.autograd.forward_ad.make_dual(x, x))


def test_the_pool_is_torchs():
    seen = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
        lambda b, e, c: seen.append((b, e))
    )
    threads._parallel_for()(0, 3, 1, ctypes.cast(callback, ctypes.c_void_p), None)
    assert sum(e - b for b, e in seen) == 3


@pytest.mark.parametrize("H", [1, 5, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_nothing_is_written_beside_a_buffer(monkeypatch, dtype, H):
    """All memory lies inside a larger one, whose other bytes must stay, and so must those between values of one block."""
    room, guards = 4096, []

    def guarded(size, dtype):
        raw = torch.full((size * dtype.itemsize + 2 * room,), 77, dtype=torch.uint8)
        guards.extend([raw[:room], raw[-room:]])
        return raw[room:-room].view(dtype)

    def new_empty(like, *shape, dtype=None):
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        return guarded(math.prod(shape), dtype or like.dtype).view(shape)

    def add(self, elements, add=Block.add):
        start = add(self, elements)
        vars(self).setdefault("gaps", []).append((start + elements, self.size))
        return start

    def new(self, like):
        block = guarded(self.size, like.dtype)
        for start, end in self.gaps:
            guards.append(block[start:end].view(torch.uint8))
        return block

    def take_scratch(self, sizes):
        named = {f"scratch{len(scratch) + n}": size for n, size in enumerate(sizes)}
        scratch.update(named)
        return [Address(name) for name in named]

    def new_memory(self, like, new_memory=Space.new):
        return new_memory(self, like) | {name: guarded(size, torch.uint8) for name, size in scratch.items()}

    scratch = {}
    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    monkeypatch.setattr(pool.POOL, "take", lambda size: guarded(size, torch.uint8))
    monkeypatch.setattr(Block, "add", add)
    monkeypatch.setattr(Block, "new", new)
    monkeypatch.setattr(Space, "take_scratch", take_scratch)
    monkeypatch.setattr(Space, "new", new_memory)
    for cell, resets in ((LSTMCell(3, H, norm=True), None), (GRUCell(3, H, gate_layers=(5,)), torch.rand(4, 3) < 0.5)):
        x = torch.randn(4, 3, 3, dtype=dtype, requires_grad=True)
        state = zeros(cell, 3, dtype)
        y, _ = scan(cell.to(dtype), None, x, state, noise={}, resets=resets, backend="cpu")
        y.sum().backward()
    assert len(guards) > 40
    assert all(bool((guard == 77).all()) for guard in guards)
