"""`LSTM`, `GRU` and `RNN` on generated kernels, which they take by themselves where there is enough work."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import deeplstm
from deeplstm.recurrence import dispatch
from deeplstm.recurrence.backends import cpu

PAIRS = [(deeplstm.LSTM, nn.LSTM), (deeplstm.GRU, nn.GRU), (deeplstm.RNN, nn.RNN)]


@pytest.fixture(autouse=True)
def _kernels_for_everything(monkeypatch):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")
    monkeypatch.setattr(cpu, "SMALL", 0)


def twins(ours, theirs, *sizes, **options):
    peer = theirs(*sizes, **options).double()
    mine = ours(*sizes, **options).double()
    mine.load_state_dict(peer.state_dict())
    return mine, peer


def results(module, x, hx=None):
    x = x.clone().requires_grad_()
    y, state = module(x, hx)
    outputs = [y, *(state if isinstance(state, tuple) else (state,))]
    torch.manual_seed(1)
    upstream = [torch.randn_like(o) for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, [x, *module.parameters()], upstream)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str)
def test_they_equal_torchs(ours, theirs, options):
    mine, peer = twins(ours, theirs, 3, 5, **options)
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    with dispatch.recording(lambda: "here") as choices:
        mine(x)
    assert {choice.backend for choice in choices} == {"cpu"}
    torch.testing.assert_close(results(mine, x), results(peer, x))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_packed_and_unbatched_input(ours, theirs):
    mine, peer = twins(ours, theirs, 3, 5)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([2, 6, 1, 4]), enforce_sorted=False)
    (got, state), (want, final) = mine(packed), peer(packed)
    torch.testing.assert_close(got.data, want.data)
    torch.testing.assert_close(state, final)
    torch.testing.assert_close(mine(x[:, 0]), peer(x[:, 0]))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [4, 6, 1, 4]], ids=str)
def test_packed_rows_run_as_they_lie(monkeypatch, ours, theirs, lengths):
    """Nothing is padded on the way; every gradient is torch's, the second derivative too."""
    mine, peer = twins(ours, theirs, 3, 5, num_layers=2, bidirectional=True)
    x = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    is_lstm = ours is deeplstm.LSTM
    given = [torch.randn(4, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(1 + is_lstm)]

    def run(module):
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=lengths[0] == 6)
        y, state = module(packed, tuple(given) if is_lstm else given[0])
        outputs = [y.data, *(state if is_lstm else (state,))]
        torch.manual_seed(1)
        upstream = [torch.randn_like(o) for o in outputs]
        inputs = [x, *given, *module.parameters()]
        return outputs, torch.autograd.grad(outputs, inputs, upstream, create_graph=True)

    monkeypatch.setattr("deeplstm.nn._drop_in.pad_packed_sequence", None)
    (got, gradients), (want, expected) = run(mine), run(peer)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradients, expected)
    second = [torch.autograd.grad(g[0].square().sum(), [x, *given]) for g in (gradients, expected)]
    torch.testing.assert_close(*second)


def test_a_projection_and_dropout_in_training():
    mine, peer = twins(deeplstm.LSTM, nn.LSTM, 3, 5, 2, proj_size=2, dropout=0.5)
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    found = []
    for module in (mine, peer):
        torch.manual_seed(5)
        found.append(module(x))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_the_same_mistakes_give_the_same_errors(ours, theirs):
    mine, peer = twins(ours, theirs, 3, 5)
    for x in (torch.zeros(4, 6, 2).double(), torch.zeros(4, 2, 6, 3).double(), torch.zeros(0, 2, 3).double()):
        with pytest.raises(Exception) as want:
            peer(x)
        with pytest.raises(type(want.value)) as got:
            mine(x)
        assert str(got.value) == str(want.value)


def test_little_work_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(cpu, "SMALL", 3e6)

    def used(net, x):
        with dispatch.recording(lambda: "here") as choices:
            net(x)
        return choices[0].backend

    assert used(deeplstm.LSTM(3, 5), torch.zeros(4, 2, 3)) == "torch"
    assert used(deeplstm.LSTM(3, 64), torch.zeros(100, 32, 3)) == "cpu"
    assert used(deeplstm.LSTM(3, 5), torch.zeros(100, 2, 3)) == "cpu"
    assert used(deeplstm.LSTM(3, 5, batch_first=True), torch.zeros(2, 100, 3)) == "cpu"
    assert used(deeplstm.LSTM(3, 5, batch_first=True), torch.zeros(100, 2, 3)) == "torch"
    with torch.no_grad():
        assert used(deeplstm.LSTM(3, 64), torch.zeros(100, 32, 3)) == "cpu"
        assert used(deeplstm.LSTM(3, 600), torch.zeros(2, 20, 3)) == "torch"


def test_a_copy_and_a_pickle_run_too():
    import copy
    import pickle

    net, x = deeplstm.GRU(3, 4), torch.randn(5, 2, 3)
    y = net(x)[0]
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(x)[0], y)
