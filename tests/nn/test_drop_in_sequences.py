"""What the drop-ins add to torch's: lengths without packing, empty rows, and resets."""

import re

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from checks import assert_same, flat
from deeplstm import GRU, LSTM, RNN, backend

T, B, I, H = 5, 4, 2, 3
KINDS = [
    (LSTM, {}),
    (LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    (LSTM, {"num_layers": 3, "bias": False}),
    (GRU, {"num_layers": 2, "bidirectional": True}),
    (RNN, {"num_layers": 2, "nonlinearity": "relu", "bidirectional": True}),
]
everywhere = pytest.mark.parametrize("name", ["auto", "reference"])
kinds = pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)


def built(kind, batch_first=False, **options):
    net = kind(I, H, batch_first=batch_first, **options).double()
    lead = net.num_layers * (2 if net.bidirectional else 1)
    widths = (net.proj_size or H, H) if kind is LSTM else (H,)
    parts = tuple(torch.randn(lead, B, w, dtype=torch.float64, requires_grad=True) for w in widths)
    return net, torch.randn(T, B, I, dtype=torch.float64, requires_grad=True), parts if kind is LSTM else parts[0]


@kinds
@everywhere
@pytest.mark.parametrize("lengths", [[5, 4, 2, 1], [2, 5, 1, 4], [3, 3, 3, 3]], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_equal_packed_sequences(kind, options, name, lengths, batch_first):
    net, x, hx = built(kind, batch_first, **options)

    def turned(value):
        return value.transpose(0, 1) if batch_first else value

    def packed():
        y, state = getattr(torch.nn, kind.__name__).forward(
            net, pack_padded_sequence(x, lengths, enforce_sorted=False), hx
        )
        return pad_packed_sequence(y, total_length=T)[0], state

    def ours():
        with backend(name):
            y, state = net(turned(x), hx, lengths=torch.tensor(lengths))
        return turned(y), state

    assert_same(ours, packed, [x, *flat(hx), *net.parameters()])


@kinds
@everywhere
def test_empty_rows_give_zeros_and_keep_their_state(kind, options, name):
    net, x, hx = built(kind, **options)
    lengths = [0, 4, 0, 2]
    with backend(name):
        y, state = net(x, hx, lengths=lengths)
        fewer, few = net(
            x[:, [1, 3]], hx=tuple(s[:, [1, 3]] for s in hx) if kind is LSTM else hx[:, [1, 3]], lengths=[4, 2]
        )
        assert bool((y[:, [0, 2]] == 0).all())
        torch.testing.assert_close(y[:, [1, 3]], fewer)
        for after, before, rest in zip(flat(state), flat(hx), flat(few), strict=True):
            assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
            torch.testing.assert_close(after[:, [1, 3]], rest)


@kinds
@everywhere
def test_what_lies_beyond_a_length_changes_nothing(kind, options, name):
    net, x, hx = built(kind, **options)
    lengths = torch.tensor([5, 3, 0, 2])
    beyond = torch.arange(T)[:, None] >= lengths
    spoiled = x.detach().masked_fill(beyond[..., None], float("nan")).requires_grad_()
    with backend(name):
        assert_same(
            lambda: net(spoiled, hx, lengths=lengths),
            lambda: net(x, hx, lengths=lengths),
            [spoiled, *flat(hx), *net.parameters()],
            [x, *flat(hx), *net.parameters()],
            rtol=0,
            atol=0,
        )


@everywhere
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_equal_the_pieces_run_separately(kind, name, batch_first):
    """Each row has its own: the piece up to a reset starts from the state given, every later one from zeros."""
    net, x, hx = built(kind, batch_first, num_layers=2)
    at = {0: [2], 1: [], 2: [0, 3], 3: [1, 2, 4]}
    resets = torch.zeros(T, B, dtype=torch.bool)
    for b, steps in at.items():
        resets[steps, b] = True

    def turned(value):
        return value.transpose(0, 1) if batch_first else value

    def ours():
        with backend(name):
            y, state = net(turned(x), hx, resets=turned(resets))
        return turned(y), state

    def pieces():
        outputs, finals = [], []
        for b, steps in at.items():
            state = tuple(s[:, b : b + 1].contiguous() for s in hx) if kind is LSTM else hx[:, b : b + 1].contiguous()
            ys = []
            for begin, end in zip([0, *steps], [*steps, T], strict=True):
                state = None if begin in steps else state
                if begin < end:
                    y, state = net(turned(x[begin:end, b : b + 1]), state)
                    ys.append(turned(y))
            outputs.append(torch.cat(ys))
            finals.append(state if kind is LSTM else (state,))
        return torch.cat(outputs, dim=1), [torch.cat(parts, dim=1) for parts in zip(*finals, strict=True)]

    assert_same(ours, pieces, [x, *flat(hx), *net.parameters()])


def test_resets_of_the_backward_direction_are_before_the_step_in_its_own_order():
    net, x, hx = built(LSTM, bidirectional=True)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2] = True
    y, _ = net(x, hx, resets=resets)
    late, _ = net(x[3:], hx)
    early, _ = net(x[:3])
    torch.testing.assert_close(y[3:, :, H:], late[..., H:])
    torch.testing.assert_close(y[:3, :, H:], early[..., H:])
    early, _ = net(x[:2], hx)
    late, _ = net(x[2:])
    torch.testing.assert_close(y[:2, :, :H], early[..., :H])
    torch.testing.assert_close(y[2:, :, :H], late[..., :H])


@everywhere
@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_with_lengths_and_with_packed_sequences(name, batch_first):
    net, x, hx = built(GRU, batch_first, num_layers=2)
    lengths, resets = [3, 5, 1, 4], torch.rand(T, B) < 0.4
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    given = resets.T if batch_first else resets

    def from_packed():
        with backend(name):
            y, state = net(packed, hx, resets=given)
        return pad_packed_sequence(y, batch_first=batch_first, total_length=T)[0], state

    def from_padded():
        with backend(name):
            return net(x.transpose(0, 1) if batch_first else x, hx, lengths=lengths, resets=given)

    assert_same(from_packed, from_padded, [x, hx, *net.parameters()])


def test_resets_of_an_unbatched_input():
    net, x, _ = built(LSTM)
    resets = torch.tensor([False, False, True, False, False])
    y, state = net(x[:, 0], resets=resets)
    together, last = net(x[:, :1], resets=resets[:, None])
    assert y.shape == (T, H)
    torch.testing.assert_close(y, together[:, 0])
    torch.testing.assert_close(state[1], last[1][:, 0])


def test_no_resets_at_all_change_nothing():
    net, x, hx = built(LSTM, num_layers=2)
    torch.testing.assert_close(net(x, hx, resets=torch.zeros(T, B, dtype=torch.bool)), net(x, hx))


z = torch.zeros
WRONG = [
    ({"lengths": [1, 2]}, "lengths have shape (2,), (4,) is expected: one for each row of the batch"),
    ({"lengths": [1, 2, 3, 6]}, "lengths contain [6], numbers from 0 to T=5 are expected"),
    ({"resets": z(B, T, dtype=torch.bool)}, "resets have shape (4, 5), (T, B) = (5, 4) is expected"),
    ({"resets": z(T, B)}, "resets are torch.float32, a tensor of torch.bool is expected"),
    (
        {"lengths": [-1, 1, 1, 1], "resets": z(T, B)},
        "lengths contain [-1], numbers from 0 to T=5 are expected; "
        "resets are torch.float32, a tensor of torch.bool is expected",
    ),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_lengths_and_resets_that_do_not_fit(kind, given, message):
    whole = f"{kind.__name__}, input of shape (T, B, I) = (5, 4, 2): {message}."
    with pytest.raises(ValueError, match="^" + re.escape(whole) + "$"):
        kind(I, H)(z(T, B, I), **given)


def test_a_packed_sequence_has_its_lengths_already():
    packed = pack_padded_sequence(z(T, B, I), [5, 4, 2, 1])
    with pytest.raises(
        ValueError, match=r"LSTM got a PackedSequence and lengths=; the former has lengths\. Leave one out\."
    ):
        LSTM(I, H)(packed, lengths=[5, 4, 2, 1])
    message = "GRU, packed input of (T, B) = (5, 4): resets have shape (4, 5), (T, B) = (5, 4) is expected."
    with pytest.raises(ValueError, match=re.escape(message)):
        GRU(I, H)(packed, resets=z(B, T, dtype=torch.bool))
