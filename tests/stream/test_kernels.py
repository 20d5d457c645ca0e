"""Streams on kernels: every cell of the table, links, rows, widths of vectors, threads."""

import pytest
import torch

import deeplstm
from streams import CHUNKS, assert_streams
from table import CELLS, cells, drawn


@cells()
def test_every_cell_gives_what_its_forward_gives(case):
    cell = case.make(3, 4)
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(deeplstm.Recurrent(cell), batch=2)
    assert stream.backend == "cpu"
    assert_streams(stream, torch.randn(7, 2, 3, dtype=torch.float64), CHUNKS[CELLS.index(case) % 3])


def deep(skip=None):
    """One of everything that a stack may hold, at sizes beside vector widths."""
    return drawn(
        deeplstm.Stack(
            torch.nn.Embedding(9, 7),
            deeplstm.MLP(7, 5, 7, activation="gelu", norm=True),
            deeplstm.LSTM(7, 31, num_layers=2, proj_size=7, dropout=0.5),
            deeplstm.Readout(torch.nn.Linear(7, 2)),
            torch.nn.LayerNorm(7),
            deeplstm.Stack(deeplstm.GRUCell(7, 33), deeplstm.MLP(33, 7)),
            deeplstm.VariationalDropout(0.5),
            deeplstm.Recurrent(deeplstm.HighwayCell(7, 7, micro_steps=2, zoneout=0.2)),
            torch.nn.Linear(7, 65),
            skip=skip,
            dropout=0.3,
        )
    )


def dense():
    return drawn(
        deeplstm.Stack(deeplstm.LSTMCell(3, 4), deeplstm.GRUCell(7, 5), torch.nn.Linear(12, 2), skip="dense")
    ).double()


@pytest.mark.parametrize(("skip", "batch"), [(None, 1), ("residual", 3), ("highway", 17)])
def test_stacks_with_links_at_every_number_of_rows(skip, batch):
    model = deep(skip).double()
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(model, batch=batch)
    ids = torch.randint(9, (7, batch))
    for sizes in CHUNKS:
        stream.reset()
        assert_streams(stream, ids, sizes)


@pytest.mark.parametrize("batch", [1, 3])
def test_dense_links(batch):
    model = dense()
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(model, batch=batch)
    assert_streams(stream, torch.randn(7, batch, 3, dtype=torch.float64), CHUNKS[2])


@pytest.mark.parametrize("H", [1, 7, 16, 33, 65])
def test_float32_to_rounding(H):
    model = deeplstm.LSTM(H, H, num_layers=2)
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(model)
    assert_streams(stream, torch.randn(7, 1, H), CHUNKS[2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", ["16", "32"])
def test_narrower_vectors(width, monkeypatch):
    from deeplstm.recurrence.backends.cpu.llvm import host

    monkeypatch.setenv("DEEPLSTM_VECTOR_BYTES", width)
    host.host.cache_clear()
    try:
        model = dense().float()
        with deeplstm.backend("cpu"):
            streams = [deeplstm.Stream(model, batch=b, weights=w) for b in (1, 5) for w in (None, torch.bfloat16)]
    finally:
        host.host.cache_clear()
    for stream in streams:
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if "bfloat16" not in repr(stream) else {"rtol": 0.1, "atol": 0.03}
        assert_streams(stream, torch.randn(7, stream.batch, 3), CHUNKS[1], **tolerance)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("batch", [1, 3])
def test_two_threads_give_the_same_bits(batch, two_threads):
    model = drawn(
        deeplstm.Stack(deeplstm.LSTMCell(5, 40, norm=True), deeplstm.GRUCell(40, 40), torch.nn.Linear(40, 40))
    )
    x = torch.randn(200, batch, 5)
    with deeplstm.backend("cpu"):
        one, two = (deeplstm.Stream(model, batch=batch, threads=n) for n in (1, 2))
    ys = one.feed(x)
    assert torch.equal(two.feed(x[:150]), ys[:150])
    assert torch.equal(torch.stack([two.step(v) for v in x[150:]]), ys[150:])


def test_bfloat16_weights_are_the_model_with_rounded_products():
    """Exactly so: every sum is float32, and biases are as they were."""
    model = drawn(deeplstm.LSTM(19, 33, num_layers=2))
    rounded = deeplstm.LSTM(19, 33, num_layers=2)
    rounded.load_state_dict({n: p.bfloat16().float() if "weight" in n else p for n, p in model.state_dict().items()})
    x = torch.randn(7, 1, 19)
    with deeplstm.backend("cpu"):
        y = deeplstm.Stream(model, weights=torch.bfloat16).feed(x)
        half = deeplstm.Stream(model, weights=torch.bfloat16)
        full = deeplstm.Stream(rounded)
    torch.testing.assert_close(y, full.feed(x), rtol=1e-5, atol=1e-6)
    assert half.weight_bytes < 0.6 * full.weight_bytes
    assert not torch.allclose(y, deeplstm.Stream(model).feed(x), rtol=1e-4, atol=1e-5)


def test_a_nan_stays_in_its_row():
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(dense(), batch=3)
    x = torch.randn(7, 3, 3, dtype=torch.float64)
    y = stream.feed(x)
    x[2, 1] = float("nan")
    stream.reset()
    again = stream.feed(x)
    assert again[2:, 1].isnan().all()
    assert torch.equal(again[:, [0, 2]], y[:, [0, 2]])


class Own(torch.nn.Module):
    """A cell that does not say how wide its input is, and starts from something learned."""

    state_size = 4

    def __init__(self):
        super().__init__()
        self.start, self.w = torch.nn.Parameter(torch.randn(4)), torch.nn.Parameter(torch.randn(4, 4))

    def initial_state(self, batch_size):
        return self.start.expand(batch_size, -1)

    def forward(self, x, state):
        new = torch.tanh(x.sum(1, keepdim=True) + state @ self.w)
        return new, new


def test_a_cell_of_ones_own():
    model = deeplstm.Recurrent(Own())
    with deeplstm.backend("cpu"):
        stream = deeplstm.Stream(model, batch=2)
        assert stream.backend == "unknown"
        assert torch.equal(stream.state, model.cell.start.expand(2, -1))
        assert_streams(stream, torch.randn(7, 2, 3), CHUNKS[2], rtol=1e-5, atol=1e-6)
    assert stream.backend == "cpu"
    stream.reset(rows=1)
    assert torch.equal(stream.state[1], model.cell.start)
    assert not torch.equal(stream.state[0], model.cell.start)


class Odd(Own):
    """Uses an operator that programs lack."""

    def forward(self, x, state):
        y, new = super().forward(x, state)
        return y.cumsum(1), new


def test_a_cell_that_cannot_be_compiled_says_so_and_runs():
    with pytest.raises(deeplstm.BackendUnavailable, match="cumsum"), deeplstm.backend("cpu"):
        deeplstm.Stream(deeplstm.Recurrent(Odd())).step(torch.zeros(1, 3))
    stream = deeplstm.Stream(deeplstm.Recurrent(Odd()), batch=2)
    assert_streams(stream, torch.randn(7, 2, 3), CHUNKS[2], rtol=1e-5, atol=1e-6)
    assert stream.backend == "reference"
    assert stream.why_not
