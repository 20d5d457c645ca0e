"""What a stream promises, on kernels and on the reference alike."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import deeplstm
from checks import flat
from streams import CHUNKS, assert_streams, whole

CLOSE = {"rtol": 1e-5, "atol": 1e-6}

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def model():
    return deeplstm.LSTM(3, 4, num_layers=2)


@pytest.fixture
def text_model():
    return deeplstm.Stack(torch.nn.Embedding(6, 3), deeplstm.GRUCell(3, 4))


def same_states(a, b):
    return all(torch.equal(p, q) for p, q in zip(flat(a), flat(b), strict=True))


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("sizes", CHUNKS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda: deeplstm.LSTM(3, 4, num_layers=2, proj_size=2),
        lambda: deeplstm.GRU(3, 4),
        lambda: deeplstm.RNN(3, 4, nonlinearity="relu", bias=False),
        lambda: deeplstm.Recurrent(deeplstm.LSTMCell(3, 4, zoneout=0.5)),
        lambda: deeplstm.Stack(deeplstm.MLP(3, 4), deeplstm.GRUCell(4, 4), torch.nn.Dropout(0.5), skip="residual"),
        lambda: deeplstm.Stack(deeplstm.MLP(3, 4)),
    ],
    ids=["LSTM", "GRU", "RNN", "Recurrent", "Stack", "no state"],
)
def test_a_stream_gives_what_the_forward_gives(make, batch, sizes):
    assert_streams(deeplstm.Stream(make(), batch=batch), torch.randn(7, batch, 3), sizes, **CLOSE)


def test_a_cell_alone():
    cell = deeplstm.LSTMCell(3, 4)
    x = torch.randn(1, 3)
    stream = deeplstm.Stream(cell)
    y, (h, c) = cell(x)
    torch.testing.assert_close(stream.step(x), y, **CLOSE)
    torch.testing.assert_close(stream.state, (h, c), **CLOSE)


def test_outputs_are_not_overwritten_by_later_steps(model):
    x = torch.randn(20, 1, 3)
    for given in (list(x), list(x.numpy())):
        stream = deeplstm.Stream(model)
        ys = [stream.step(v) for v in given]
        assert not np.allclose(ys[0], ys[1])
        torch.testing.assert_close(torch.stack([torch.as_tensor(y) for y in ys]), whole(model, x)[0], **CLOSE)


def test_what_is_done_to_an_output_does_nothing_to_the_stream(model):
    x = torch.randn(2, 1, 3)
    stream = deeplstm.Stream(model)
    stream.step(x[0]).fill_(9)
    stream.state[0].fill_(9)
    torch.testing.assert_close(stream.step(x[1]), whole(model, x)[0][1], **CLOSE)


def test_numpy_in_numpy_out(model, text_model):
    x = np.random.default_rng(0).standard_normal((7, 1, 3)).astype(np.float32)
    stream = deeplstm.Stream(model)
    expected = whole(model, torch.from_numpy(x))[0].numpy()
    first = stream.step(x[0])
    assert type(first) is np.ndarray
    assert first.dtype == np.float32
    backwards = x[::-1].copy()[::-1]  # neither contiguous nor of a stride that torch has
    rest = stream.feed(backwards[1:])
    np.testing.assert_allclose(np.concatenate([first[None], rest]), expected, rtol=1e-5, atol=1e-6)
    x.flags.writeable = False
    stream.reset()
    np.testing.assert_allclose(stream.feed(x), expected, rtol=1e-5, atol=1e-6)
    ids = np.array([1, 5, 0])
    y = deeplstm.Stream(text_model).feed(ids)
    np.testing.assert_allclose(y, whole(text_model, torch.from_numpy(ids)[:, None])[0][:, 0], rtol=1e-5, atol=1e-6)


def test_one_row_needs_no_batch_dimension(model, text_model):
    x = torch.randn(7, 1, 3)
    expected = whole(model, x)[0]
    stream = deeplstm.Stream(model)
    first = stream.step(x[0, 0])
    assert first.shape == (4,)
    rest = stream.feed(x[1:, 0])
    assert rest.shape == (6, 4)
    torch.testing.assert_close(torch.cat([first[None], rest]), expected[:, 0], **CLOSE)
    ids = torch.tensor([1, 5, 0])
    stream = deeplstm.Stream(text_model)
    parts = [stream.step(ids[0]), stream.step(ids[1:2])[0], *stream.feed(ids[2:])]
    torch.testing.assert_close(torch.stack(parts), whole(text_model, ids[:, None])[0][:, 0], **CLOSE)


def test_batch_first_chunks():
    model = deeplstm.Stack(deeplstm.GRUCell(3, 4), batch_first=True)
    x = torch.randn(2, 7, 3)
    stream = deeplstm.Stream(model, batch=2)
    y = torch.cat([stream.step(x[:, 0])[:, None], stream.feed(x[:, 1:])], 1)
    torch.testing.assert_close(y, whole(model, x)[0], **CLOSE)
    assert stream.feed(x[:, :0]).shape == (2, 0, 4)


def test_inputs_as_they_come(model):
    """Not contiguous, or with a gradient of their own."""
    x = torch.randn(3, 7).t()[:, None]
    expected = whole(model, x)[0]
    stream = deeplstm.Stream(model)
    y = [stream.step(x[0].requires_grad_()), *stream.feed(x[1:])]
    assert not y[0].requires_grad
    torch.testing.assert_close(torch.stack(y), expected, **CLOSE)


def test_out_is_filled_and_returned(model):
    x = torch.randn(2, 1, 3)
    expected = whole(model, x)[0]
    stream, out = deeplstm.Stream(model), torch.empty(1, 4)
    assert stream.step(x[0], out=out) is out
    torch.testing.assert_close(out, expected[0], **CLOSE)
    array = np.empty((1, 1, 4), np.float32)
    assert stream.feed(x[1:].numpy(), out=array) is array
    np.testing.assert_allclose(array, expected[1:], rtol=1e-5, atol=1e-6)


def test_dropout_is_off_and_the_model_keeps_its_mode():
    model = deeplstm.Stack(deeplstm.LSTMCell(3, 4, zoneout=0.5, recurrent_dropout=0.5), torch.nn.Dropout(0.9))
    model.layers[1].eval()
    assert_streams(deeplstm.Stream(model), torch.randn(7, 1, 3), CHUNKS[0], **CLOSE)
    assert [m.training for m in (model, model.layers[0].cell, model.layers[1])] == [True, True, False]


# ---------------------------------------------------------------- the state


def test_the_state_is_the_models_own_both_ways(model):
    x = torch.randn(7, 3, 3)
    stream = deeplstm.Stream(model, batch=3)
    stream.feed(x[:3])
    y, after = whole(model, x[3:], stream.state)
    torch.testing.assert_close(stream.feed(x[3:]), y, **CLOSE)
    _, before = whole(model, x[:3])
    stream.state = before
    torch.testing.assert_close(stream.feed(x[3:]), y, **CLOSE)
    torch.testing.assert_close(stream.state, after, **CLOSE)
    stream.state = None
    assert all((s == 0).all() for s in stream.state)


@pytest.mark.parametrize("rows", [1, [1], np.array([1]), torch.tensor([False, True, False]), [False, True, False], -2])
def test_a_reset_of_some_rows(model, rows):
    x = torch.randn(4, 3, 3)
    stream = deeplstm.Stream(model, batch=3)
    stream.feed(x[:2])
    stream.reset(rows)
    resets = torch.zeros(4, 3, dtype=torch.bool)
    resets[2, 1] = True
    with torch.no_grad():
        expected, _ = model(x, resets=resets)
    torch.testing.assert_close(stream.feed(x[2:]), expected[2:], **CLOSE)
    stream.reset([])
    assert stream.state[0].any()
    stream.reset()
    assert not any(s.any() for s in stream.state)


def test_a_fork_goes_its_own_way(model):
    x = torch.randn(3, 1, 3)
    stream = deeplstm.Stream(model)
    stream.step(x[0])
    for fork in (stream.fork(), copy.deepcopy(stream), copy.copy(stream)):
        assert same_states(fork.state, stream.state)
        before = stream.state
        y = fork.step(x[1])
        assert same_states(stream.state, before)
        torch.testing.assert_close(y, whole(model, x)[0][1], **CLOSE)


def test_a_state_may_be_of_arrays(model):
    stream, other = (deeplstm.Stream(model, batch=2) for _ in range(2))
    stream.feed(torch.randn(5, 2, 3))
    other.state = tuple(part.numpy() for part in stream.state)
    assert same_states(stream.state, other.state)


def test_rows_that_are_no_rows(model):
    with pytest.raises(ValueError, match="whole numbers or a mask"):
        deeplstm.Stream(model).reset(rows="a")


def test_a_folder_that_is_not_there(model, tmp_path):
    with pytest.raises(deeplstm.errors.InputError, match="no folder"):
        deeplstm.Stream(model).save(tmp_path / "missing" / "state")


def test_a_state_goes_on_in_another_process(model, tmp_path, backend):
    x = torch.randn(7, 1, 3)
    expected = whole(model, x)[0]
    stream = deeplstm.Stream(model)
    stream.feed(x[:4])
    stream.save(tmp_path / "state")
    torch.save((model.state_dict(), x, expected), tmp_path / "rest")
    code = f"""
import torch, deeplstm
weights, x, expected = torch.load({str(tmp_path / "rest")!r})
model = deeplstm.LSTM(3, 4, num_layers=2)
model.load_state_dict(weights)
with deeplstm.backend({backend!r}):
    stream = deeplstm.Stream(model)
    stream.load({str(tmp_path / "state")!r})
torch.testing.assert_close(stream.feed(x[4:]), expected[4:], rtol=1e-5, atol=1e-6)
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "equal\n", done.stderr
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name or "tmp" in p.name] == []


def test_a_stream_is_not_pickled(model):
    with pytest.raises(TypeError, match="save"):
        pickle.dumps(deeplstm.Stream(model))


@pytest.mark.parametrize("used", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("made", [torch.inference_mode, torch.no_grad])
def test_inference_mode_may_begin_and_end_between_any_two_calls(model, made, used):
    x = torch.randn(4, 1, 3)
    expected, state = whole(model, x)
    with made():
        stream = deeplstm.Stream(model)
    with used():
        first = stream.step(x[0])
        fork = stream.fork()
        stream.reset()
        stream.feed(x[:2])
        with torch.no_grad():
            model.bias_ih_l0.add_(1).sub_(1)  # packed anew, in this mode
        stream.step(x[2])
    for one, rest in ((stream, x[3:]), (fork, x[1:])):
        torch.testing.assert_close(one.feed(rest)[-1], expected[-1], **CLOSE)
        torch.testing.assert_close(one.state, state, **CLOSE)
    stream.state = state
    stream.reset(rows=[0])
    again = stream.step(x[0])
    torch.testing.assert_close(again, first, **CLOSE)
    again.add_(1)  # a plain tensor


class Learned(torch.nn.Module):
    """A cell that starts from a parameter, and does not say how wide its input is."""

    state_size = 3

    def __init__(self):
        super().__init__()
        self.start = torch.nn.Parameter(torch.ones(3))

    def initial_state(self, batch_size):
        return self.start.expand(batch_size, -1)

    def forward(self, x, h):
        h = torch.tanh(x + h)
        return h, h


@pytest.mark.parametrize("batch", [1, 2])
def test_a_state_that_is_set_before_the_first_step_is_not_written_to_the_model(batch):
    cell = Learned()
    stream = deeplstm.Stream(cell, batch=batch)
    stream.state = torch.zeros(batch, 3)
    assert cell.start.tolist() == [1, 1, 1]
    assert torch.equal(stream.step(torch.ones(batch, 3)), torch.ones(batch, 3).tanh())
    stream.reset()
    assert torch.equal(stream.state, torch.ones(batch, 3))


# ---------------------------------------------------------------- the weights


def changes():
    def optimizer(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()

    def fused_optimizer(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.5, fused=True)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()

    def in_inference_mode(model):
        with torch.inference_mode():
            model.weight_hh_l1.mul_(2)

    def load(model):
        model.load_state_dict({n: p + 0.5 for n, p in model.state_dict().items()})

    def replaced(model):
        model.weight_hh_l1 = torch.nn.Parameter(model.weight_hh_l1.detach() + 0.5)

    def data(model):
        for p in model.parameters():
            p.data = p.data + 0.5

    def bias_alone(model):
        with torch.no_grad():
            model.bias_ih_l0 += 0.5

    return [optimizer, fused_optimizer, in_inference_mode, load, replaced, data, bias_alone]


@pytest.mark.parametrize("change", changes(), ids=lambda f: f.__name__)
def test_changed_weights_are_noticed(model, change):
    x = torch.randn(4, 1, 3)
    stream = deeplstm.Stream(model)
    first = stream.feed(x[:2])
    y, state = whole(model, x[:2])
    torch.testing.assert_close(first, y, **CLOSE)
    change(model)
    expected, _ = whole(model, x[2:], state)
    torch.testing.assert_close(torch.stack([stream.step(v) for v in x[2:]]), expected, **CLOSE)


def test_a_change_that_cannot_be_seen(model):
    x = torch.randn(1, 1, 3)
    stream, other = deeplstm.Stream(model), deeplstm.Stream(model)
    model.bias_ih_l0.data.add_(0.5)
    stream.refresh()
    for one in (stream, other):
        torch.testing.assert_close(one.feed(x), whole(model, x)[0], **CLOSE)


def test_weights_are_packed_once_for_all_streams_and_again_only_when_changed(model, backend):
    if backend == "reference":
        pytest.skip("nothing is packed")
    streams = [deeplstm.Stream(model, batch=b) for b in (1, 3)]
    streams.append(streams[0].fork())
    packings = {id(s._engine._memory.packing) for s in streams}
    assert len(packings) == 1
    for s in streams:
        s.step(torch.randn(s.batch, 3))
    assert {id(s._engine._memory.packing) for s in streams} == packings
    with torch.no_grad():
        model.weight_ih_l0.add_(1)
    for s in streams:
        s.step(torch.randn(s.batch, 3))
    after = {id(s._engine._memory.packing) for s in streams}
    assert len(after) == 1
    assert after != packings


def test_another_layer_of_the_same_kind_is_noticed():
    model = deeplstm.Stack(deeplstm.GRUCell(3, 4), deeplstm.MLP(4, 4))
    stream = deeplstm.Stream(model)
    model.layers[1] = deeplstm.MLP(4, 4)
    x = torch.randn(2, 1, 3)
    torch.testing.assert_close(stream.feed(x), whole(model, x)[0], **CLOSE)


def test_a_model_that_has_become_another_one():
    model = deeplstm.Stack(deeplstm.GRUCell(3, 4), deeplstm.MLP(4, 4))
    x = torch.randn(1, 3)
    stream = deeplstm.Stream(model)
    stream.step(x)
    before = stream.state
    model.layers[1] = deeplstm.MLP(4, 5)
    for call in (lambda: stream.step(x), lambda: stream.step(x.numpy()), lambda: stream.feed(x[None])):
        with pytest.raises(ValueError, match=r"layers.1.layers.0.weight is \(5, 4\).*was \(4, 4\).*Make a new Stream"):
            call()
    assert same_states(stream.state, before)
    assert deeplstm.Stream(model).step(x).shape == (1, 5)
    model.layers[1] = torch.nn.Tanh()
    with pytest.raises(ValueError, match=r"layers\.1 is Tanh, was MLP"):
        stream.step(x)
    model.double()
    with pytest.raises(ValueError, match="float64"):
        stream.step(x)


def test_streams_in_threads_while_weights_change(model):
    """Each output is that of the old weights or of the new, never of a mixture."""
    x = torch.randn(1, 3)
    old = deeplstm.Stream(model).step(x)
    new_model = copy.deepcopy(model)
    with torch.no_grad():
        for p in new_model.parameters():
            p.neg_()
    new = deeplstm.Stream(new_model).step(x)
    found, streams = [], [deeplstm.Stream(model) for _ in range(4)]

    def run(stream):
        for _ in range(50):
            stream.reset()
            found.append(stream.step(x))

    workers = [threading.Thread(target=run, args=(s,)) for s in streams]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 200
    assert all(torch.equal(y, old) for y in found)
    model.load_state_dict(new_model.state_dict())
    for s in streams:
        s.reset()
        assert torch.equal(s.step(x), new)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (torch.zeros(1, 4), ValueError, r"x of shape \(1, 4\), \(1, 3\) or \(3,\) is expected"),
        (torch.zeros(2, 3), ValueError, r"x of shape \(2, 3\), \(1, 3\)"),
        (torch.zeros(1, 1, 3), ValueError, r"x of shape \(1, 1, 3\), \(1, 3\)"),
        (torch.zeros(()), ValueError, r"x of shape \(\)"),
        (torch.zeros(1, 3, dtype=torch.float64), ValueError, "x float64, the model's float32 is expected"),
        (np.zeros((1, 3)), ValueError, "x float64, the model's float32 is expected"),
        (np.zeros((1, 3), dtype=object), ValueError, "object"),
        (torch.zeros(1, 4, dtype=torch.int64), ValueError, "int64.*float32.*shape"),
        ([0.0, 0.0, 0.0], TypeError, "type list, but a torch tensor or a NumPy array"),
        (torch.zeros(1, 3, device="meta"), ValueError, "on meta"),
        (torch.zeros(1, 3).to_sparse(), ValueError, r"a sparse x \(sparse_coo\), but a dense one is expected"),
    ],
)
def test_a_wrong_input_changes_nothing(model, x, error, says):
    stream = deeplstm.Stream(model)
    stream.step(torch.randn(1, 3))
    before = stream.state
    with pytest.raises(error, match=says):
        stream.step(x)
    assert same_states(stream.state, before)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(5, 2, 3), r"x of shape \(5, 2, 3\), \(T, 1, 3\) or \(T, 3\) is expected"),
        (torch.zeros(3), r"x of shape \(3,\)"),
        (torch.zeros(5, 1, 4), r"\(T, 1, 3\)"),
    ],
)
def test_a_wrong_chunk(model, x, says):
    with pytest.raises(ValueError, match=says):
        deeplstm.Stream(model).feed(x)


@pytest.mark.parametrize("bad", [6, -1, 2**40])
def test_a_number_outside_the_table_changes_nothing(text_model, bad):
    stream = deeplstm.Stream(text_model)
    stream.feed(torch.tensor([1, 2]))
    before = stream.state
    for call in (
        lambda: stream.step(torch.tensor([bad])),
        lambda: stream.step(np.array([bad])),
        lambda: stream.feed(torch.tensor([1, bad])),
    ):
        with pytest.raises(ValueError, match="numbers from 0 to 5"):
            call()
    assert same_states(stream.state, before)
    with pytest.raises(ValueError, match="x float32, whole numbers"):
        stream.step(torch.zeros(1))
    assert stream.step(torch.tensor([3], dtype=torch.int32)).shape == (1, 4)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ((torch.ones(1, 1, 4), torch.ones(1, 1, 4)), r"\(\(1, 1, 4\), \(1, 1, 4\)\) is given, but \(\(2, 1, 4\)"),
        (torch.ones(2, 1, 4), "is expected"),
        ((torch.ones(2, 1, 4), "c"), "str"),
        ((torch.ones(2, 1, 4), torch.ones(2, 1, 4).double()), "float64"),
    ],
)
def test_a_wrong_state_changes_nothing(model, state, says):
    stream = deeplstm.Stream(model)
    with pytest.raises(ValueError, match=says):
        stream.state = state
    assert not any(s.any() for s in stream.state)


def test_wrong_files_change_nothing(model, tmp_path):
    stream = deeplstm.Stream(model)
    stream.step(torch.randn(1, 3))
    before = stream.state
    path = tmp_path / "state"
    for other, says in (
        (deeplstm.Stream(model, batch=2), r"shape \(2, 4\), \(1, 4\) is expected"),
        (deeplstm.Stream(deeplstm.LSTM(3, 5, num_layers=2)), r"shape \(1, 5\)"),
        (deeplstm.Stream(deeplstm.GRU(3, 4, num_layers=2)), "GRU layer 0 state 0 is not of this model"),
        (deeplstm.Stream(deeplstm.LSTM(3, 4)), "LSTM layer 1 state 0 is missing"),
    ):
        other.save(path)
        with pytest.raises(deeplstm.InputError, match=says):
            stream.load(path)
    stream.save(path)
    whole_file = path.read_bytes()
    for damage in (
        whole_file[:-7],
        b"",
        b"not a state at all",
        whole_file.replace(b"stream state 1", b"stream state 9"),
    ):
        path.write_bytes(damage)
        with pytest.raises(deeplstm.InputError, match="state"):
            stream.load(path)
    with pytest.raises(FileNotFoundError):
        stream.load(tmp_path / "nothing")
    assert same_states(stream.state, before)


@pytest.mark.parametrize(
    ("rows", "says"),
    [(3, r"rows \[3\]"), ([0, -4], r"rows \[-4\]"), ([True], r"mask of shape \(1,\)"), (0.5, "whole numbers")],
)
def test_wrong_rows(model, rows, says):
    with pytest.raises(ValueError, match=says):
        deeplstm.Stream(model, batch=3).reset(rows)


@pytest.mark.parametrize(
    ("out", "error", "says"),
    [
        (
            torch.empty(1, 5),
            ValueError,
            r"out of float32 and shape \(1, 5\) on cpu, but y is float32 and has shape \(1, 4\)",
        ),
        (torch.empty(1, 4, dtype=torch.float64), ValueError, "out of float64"),
        (np.empty((1, 4), np.float32), TypeError, "ndarray"),
        (torch.empty(1, 4, requires_grad=True), ValueError, "gradient"),
    ],
)
def test_a_wrong_out_changes_nothing(model, out, error, says):
    stream = deeplstm.Stream(model)
    with pytest.raises(error, match=says):
        stream.step(torch.randn(1, 3), out=out)
    assert not any(s.any() for s in stream.state)


def test_models_that_cannot_be_streamed():
    for model, says in (
        (deeplstm.LSTM(3, 4, bidirectional=True), "LSTM is bidirectional: its output at a step needs"),
        (
            deeplstm.Stack(deeplstm.GRUCell(3, 4), deeplstm.Recurrent(deeplstm.GRUCell(4, 4), bidirectional=True)),
            "layers.1 is bidirectional",
        ),
        (deeplstm.Recurrent(deeplstm.GRUCell(3, 4), reverse=True), "from the last step to the first"),
    ):
        with pytest.raises(ValueError, match=says):
            deeplstm.Stream(model)
    with pytest.raises(TypeError, match=r"Use deeplstm\.LSTM, which takes the same"):
        deeplstm.Stream(torch.nn.LSTM(3, 4))
    with pytest.raises(TypeError, match="got Linear"):
        deeplstm.Stream(torch.nn.Linear(3, 4))


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": 1.0}, {"weights": torch.float16}, {"threads": 3}])
def test_wrong_options(model, options):
    with pytest.raises(ValueError, match=f"Stream: {next(iter(options))}="):
        deeplstm.Stream(model, **options)


def test_what_it_says_of_itself(model, backend):
    stream = deeplstm.Stream(model)
    assert stream.backend == backend
    assert repr(stream).startswith(f"Stream(LSTM, batch=1) on backend '{backend}'")
    if backend == "reference":
        assert stream.why_not == ["the backend 'reference' is asked for"]
        with pytest.raises(deeplstm.BackendUnavailable, match=r"weights=torch\.bfloat16"):
            deeplstm.Stream(model, weights=torch.bfloat16)
    with deeplstm.backend("torch"), pytest.raises(deeplstm.BackendUnavailable, match="'torch' cannot run a Stream"):
        deeplstm.Stream(model)
