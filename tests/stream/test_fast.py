"""Steps for inputs that are just as a kernel wants them."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import deeplstm
from streams import whole

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def model():
    return deeplstm.LSTM(3, 4)


@pytest.fixture
def text_model():
    return deeplstm.Stack(torch.nn.Embedding(6, 3), deeplstm.GRUCell(3, 4))


def stream_of(model, **options):
    with deeplstm.backend("cpu"):
        return deeplstm.Stream(model, **options)


class Operators(TorchDispatchMode):
    """Notes what torch is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


# ---------------------------------------------------------------- what it takes


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("has_out", [True, False])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_every_form_of_one_step_is_fast_and_right(model, dims, has_out, kind):
    stream, x = stream_of(model), torch.randn(40, 1, 3)
    expected = whole(model, x)[0]
    given, wanted = (x, expected) if dims == 2 else (x[:, 0], expected[:, 0])
    ys = []
    for one in given:
        y = torch.full(wanted.shape[1:], torch.nan)
        one, out = (one.numpy(), y.numpy()) if kind == "array" else (one, y)
        got = stream._engine.fast(one, out if has_out else None)
        assert type(got) is type(one)
        assert (got is out) == has_out
        ys.append(torch.as_tensor(got))
    torch.testing.assert_close(torch.stack(ys), wanted, **CLOSE)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_one_number_without_the_batch_is_fast(text_model, kind):
    stream, ids = stream_of(text_model), torch.tensor([1, 5, 0])
    ys = [stream._engine.fast(n if kind == "tensor" else np.array(n.item()), None) for n in ids]
    torch.testing.assert_close(
        torch.stack([torch.as_tensor(y) for y in ys]), whole(text_model, ids[:, None])[0][:, 0], **CLOSE
    )


def test_more_rows_need_their_dimension(model):
    stream = stream_of(model, batch=2)
    assert stream._engine.fast(torch.zeros(3), None) is None
    assert stream._engine.fast(np.zeros(3, np.float32), None) is None
    assert stream.step(torch.zeros(2, 3)).shape == (2, 4)


# ---------------------------------------------------------------- what it gives


@pytest.mark.parametrize("shape", [(1, 3), (3,)])
def test_each_output_is_a_tensor_of_its_own(model, shape):
    stream, head = stream_of(model), torch.nn.Linear(4, 2)
    ys = [stream.step(torch.zeros(shape)) for _ in range(3)]
    loss = head(ys[0]).sum()
    ys[1].mul_(2)
    loss.backward()  # what was done to one output is none of another's business
    assert [y._base for y in ys] == [None] * 3
    ys[2].detach_()


# ---------------------------------------------------------------- out=


@pytest.mark.parametrize("shape", [(1, 3), (3,)])
def test_with_out_torch_is_asked_for_nothing(model, shape):
    stream, x, out = stream_of(model), torch.zeros(shape), torch.empty((*shape[:-1], 4))
    with Operators() as operators:
        for _ in range(20):
            stream.step(x, out=out)
    assert operators.seen == []


def test_with_out_numpy_is_asked_for_nothing():
    stream = stream_of(deeplstm.Stack(torch.nn.Linear(2, 20_000)))
    x, out = np.zeros((1, 2), np.float32), np.empty((1, 20_000), np.float32)
    stream.step(x, out=out)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            stream.step(x, out=out)
        assert tracemalloc.get_traced_memory()[1] - before < out.nbytes / 10
        stream.step(x)
        assert tracemalloc.get_traced_memory()[1] - before > out.nbytes  # which is how it would have been seen
    finally:
        tracemalloc.stop()


def test_a_chunk_is_written_where_it_belongs(model):
    stream, x = stream_of(model), torch.randn(7, 1, 3)
    out = torch.empty(7, 1, 4)
    with Operators() as operators:
        stream.feed(x, out=out)
    assert not [name for name in operators.seen if "empty" in name or "copy" in name or "clone" in name]
    torch.testing.assert_close(out, whole(model, x)[0], **CLOSE)


@pytest.mark.usefixtures("backend")
def test_out_may_be_where_x_is():
    model = deeplstm.Stack(torch.nn.Linear(33, 33), skip="dense")
    x = torch.randn(2, 1, 33)
    expected = whole(model, x)[0]
    for method in ("step", "feed"):
        stream = deeplstm.Stream(model)
        for given in (x.clone(), x.clone().numpy()):
            out = given[0] if method == "step" else given
            getattr(stream, method)(out, out=out)
            torch.testing.assert_close(torch.as_tensor(out), expected[0] if method == "step" else expected, **CLOSE)
    memory = torch.cat([x[0, 0], torch.zeros(5)])
    stream = deeplstm.Stream(model)
    stream.step(memory[:33], out=memory[5:])
    torch.testing.assert_close(memory[5:], expected[0, 0], **CLOSE)


@pytest.mark.usefixtures("backend")
def test_out_need_not_be_contiguous(model):
    x = torch.randn(2, 1, 3)
    expected = whole(model, x)[0]
    stream, wide = deeplstm.Stream(model), torch.zeros(2, 1, 8)
    stream.step(x[0], out=wide[0, :, ::2])
    stream.feed(x[1:], out=wide[1:, :, ::2])
    torch.testing.assert_close(wide[..., ::2], expected, **CLOSE)
    assert not wide[..., 1::2].any()
    stream, wide = deeplstm.Stream(model), np.zeros((1, 8), np.float32)
    stream.step(x[0].numpy(), out=wide[:, ::2])
    torch.testing.assert_close(torch.from_numpy(wide[:, ::2]), expected[0], **CLOSE)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("method", ["step", "feed"])
def test_autograd_notices_what_is_written_to_out(model, method):
    stream, head = deeplstm.Stream(model), torch.nn.Linear(4, 2)
    x, out = (
        (torch.zeros(1, 3), torch.zeros(1, 4)) if method == "step" else (torch.zeros(5, 1, 3), torch.zeros(5, 1, 4))
    )
    loss = head(out).sum()
    getattr(stream, method)(x, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("used", [torch.inference_mode, torch.no_grad])
def test_out_may_be_made_in_inference_mode(model, used):
    x = torch.randn(3, 1, 3)
    with torch.inference_mode():
        out, wide = torch.empty(1, 4), torch.empty(1, 8)
    stream = deeplstm.Stream(model)
    expected = whole(model, x)[0]
    with used():
        stream.step(x[0], out=out)
        torch.testing.assert_close(out, expected[0], **CLOSE)
        stream.feed(x[1:2], out=out[None])
        stream.step(x[2], out=wide[:, ::2])
    with torch.inference_mode():
        torch.testing.assert_close(out, expected[1], **CLOSE)
        torch.testing.assert_close(wide[:, ::2], expected[2], **CLOSE)


@pytest.mark.parametrize(
    ("x", "out", "error", "says"),
    [
        (torch.zeros(1, 3), torch.empty(4), ValueError, r"shape \(4,\)"),
        (torch.zeros(3), torch.empty(1, 4), ValueError, r"y is float32 and has shape \(4,\)"),
        (torch.zeros(1, 3), torch.empty(1, 4).to_sparse(), ValueError, "sparse or expanded"),
        (torch.zeros(1, 3), torch.empty(1, 1).expand(1, 4), ValueError, "sparse or expanded"),
        (np.zeros(3, np.float32), np.empty((1, 4), np.float32), ValueError, r"shape \(1, 4\)"),
        (np.zeros(3, np.float32), np.empty(4), ValueError, "float64"),
        (np.zeros(3, np.float32), np.broadcast_to(np.float32(0), 4), ValueError, "cannot be written to"),
        (np.zeros(3, np.float32), torch.empty(4), TypeError, "a NumPy array is expected, as x is"),
    ],
)
@pytest.mark.usefixtures("backend")
def test_a_wrong_out_changes_nothing(model, x, out, error, says):
    stream = deeplstm.Stream(model)
    with pytest.raises(error, match=says):
        stream.step(x, out=out)
    assert not any(s.any() for s in stream.state)
