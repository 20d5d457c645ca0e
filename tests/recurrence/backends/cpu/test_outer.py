"""Products that sum over rows: right for every shape, and the same bits for any number of threads."""

import pytest
import torch
from torch import nn

import deeplstm
from deeplstm.recurrence.backends.cpu import outer as products
from deeplstm.recurrence.backends.cpu.llvm.host import host
from deeplstm.recurrence.backends.cpu.outer import outer

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13, torch.bfloat16: 1e-2}
SIZES = [(1, 1), (7, 31), (31, 7), (33, 65), (65, 33), (1, 130), (130, 1), (96, 64), (10, 17), (12, 3), (25, 17)]
ROWS = [0, 1, 5, 127, 128, 129, 257, 1000]


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads, which even the smallest products are then shared out to."""
    before = torch.get_num_threads()
    monkeypatch.setattr(products, "SMALL", 0)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def exact(a, b):
    return (a.double().t() @ b.double()).to(a.dtype)


def assert_right(got, a, b):
    assert got.dtype == a.dtype
    assert got.is_contiguous()
    scale = TOLERANCE[a.dtype] * max(a.shape[0], 1) ** 0.5
    torch.testing.assert_close(got, exact(a, b), rtol=scale, atol=scale)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("N", ROWS)
def test_every_shape(N, dtype):
    for n, m in SIZES:
        a, b = torch.randn(N, n).to(dtype), torch.randn(N, m).to(dtype)
        (got,) = outer(a, [b])
        assert_right(got, a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_several_products_of_columns_of_wider_rows(dtype, threads):
    wide = torch.randn(300, 400).to(dtype)
    a, others = wide[:, 3:80], [wide[:, 100:133], wide[:, 200:201], wide[:, 250:250], wide[:, 301:400]]
    for count in (1, 3):
        threads(count)
        for got, b in zip(outer(a, others), others, strict=True):
            assert_right(got, a, b)
    assert outer(a[:, :0], others)[0].shape == (0, 33)


def test_rows_that_do_not_lie_side_by_side():
    a, b = torch.randn(33, 70).t(), torch.randn(5, 70).t()
    assert_right(outer(a, [b])[0], a, b)
    same = torch.randn(1, 9).expand(70, 9)
    assert_right(outer(a, [same])[0], a, same)


def test_more_of_b_than_is_packed_at_a_time():
    a, b = torch.randn(130, 20), torch.randn(130, 2500)
    assert_right(outer(a, [b])[0], a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_same_bits_for_any_number_of_threads(dtype, threads):
    for N, n, m in [(3200, 256, 64), (1000, 512, 128), (257, 33, 65), (300, 5, 300), (700, 1, 1)]:
        a, b, c = (torch.randn(N, width).to(dtype) for width in (n, m, 9))
        threads(1)
        want = outer(a, [b, c])
        for count in (1, 2, 3, 4, 7):
            threads(count)
            for got, first in zip(outer(a, [b, c]), want, strict=True):
                assert torch.equal(got, first)
        assert torch.equal(outer(a, [c])[0], want[1]), "alone, or beside another"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_stay_where_they_are(value):
    for row, (n, m) in [(0, (7, 31)), (200, (33, 65))]:
        a, b = torch.randn(257, n), torch.randn(257, m)
        a[row, 4] = value
        b[row, 3], b[row + 1, 5] = 0, value
        (got,) = outer(a, [b])
        torch.testing.assert_close(got, exact(a, b), rtol=1e-3, atol=1e-3, equal_nan=True)


def test_nothing_is_read_or_written_beside_the_rows():
    """What surrounds the columns is NaN, and what is around the results stays."""
    wide = torch.full((260, 60), float("nan"))
    wide[1:258, 5:12], wide[1:258, 20:53] = torch.randn(257, 7), torch.randn(257, 33)
    a, b = wide[1:258, 5:12], wide[1:258, 20:53]
    assert_right(outer(a, [b])[0], a, b)
    memory = torch.full((9, 33), 5.0)
    products._run(a, [b], [memory[1:8]])
    torch.testing.assert_close(memory[1:8], exact(a, b))
    assert bool((memory[[0, 8]] == 5).all())


def test_the_error_is_at_most_twice_that_of_torch():
    ours = theirs = 0.0
    for _ in range(4):
        a, b = torch.randn(3200, 64), torch.randn(3200, 32)
        want = a.double().t() @ b.double()
        ours += (outer(a, [b])[0] - want).abs().mean().item()
        theirs += (a.t() @ b - want).abs().mean().item()
    assert 0 < ours <= 2 * theirs


@pytest.mark.parametrize("width", ["16", "32"])
def test_narrower_vectors(width, monkeypatch):
    monkeypatch.setenv("DEEPLSTM_VECTOR_BYTES", width)
    for cached in (host, products._kernel):
        cached.cache_clear()
    try:
        assert host().vector_bytes == int(width)
        for dtype in DTYPES:
            for N, n, m in [(257, 33, 65), (5, 7, 31), (9, 12, 3)]:
                a, b = torch.randn(N, n).to(dtype), torch.randn(N, m).to(dtype)
                assert_right(outer(a, [b])[0], a, b)
    finally:
        for cached in (host, products._kernel):
            cached.cache_clear()


def test_other_types_are_torchs():
    a, b = torch.randint(0, 9, (50, 4)), torch.randint(0, 9, (50, 3))
    assert torch.equal(outer(a, [b])[0], a.t() @ b)


class Layered(nn.Module):
    """Layers before and after the recurrence, and numbers that all units share."""

    def __init__(self, I, H):
        super().__init__()
        self.state_size = H
        self.before, self.inputs, self.after = nn.Linear(I, H), nn.Linear(H, H), nn.Linear(H, H)
        self.recurrent = nn.Linear(H, H, bias=False)
        self.rate, self.gain = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor([1.1]))

    def forward(self, x, h):
        z = self.inputs(torch.sigmoid(self.before(x))) + self.recurrent(h)
        new = self.rate.sigmoid() * h + self.gain * torch.tanh(z)
        return torch.exp(torch.tanh(self.after(new))), new


THREADED = {
    "norm": (lambda: deeplstm.LSTMCell(64, 64, norm=True), 100, 32, 64),
    "37 rows": (lambda: deeplstm.LSTMCell(300, 300), 37, 1, 300),
    "many rows": (lambda: Layered(20, 40), 1200, 60, 20),
    "narrow": (lambda: Layered(3, 1), 999, 67, 3),
    "gates": (lambda: deeplstm.GRUCell(33, 65, gate_layers=(31,)), 50, 21, 33),
}


@pytest.mark.parametrize("memory", ["save", "recompute"])
@pytest.mark.parametrize(("make", "T", "B", "I"), THREADED.values(), ids=THREADED)
def test_a_training_step_has_the_same_bits_for_any_number_of_threads(make, T, B, I, memory):
    cell = make()
    x = torch.randn(T, B, I, requires_grad=True)
    layer, found = deeplstm.Recurrent(cell, memory=memory), []
    upstream = torch.randn_like(layer(x[:1])[0]).expand(T, -1, -1)
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            with deeplstm.backend("cpu"):
                y, _ = layer(x)
            found.append([y, *torch.autograd.grad(y, [x, *layer.parameters()], upstream)])
    finally:
        torch.set_num_threads(before)
    names = ["y", "x", *(name for name, _ in layer.named_parameters())]
    for other in found[1:]:
        differ = [name for name, a, b in zip(names, found[0], other, strict=True) if not torch.equal(a, b)]
        assert not differ
