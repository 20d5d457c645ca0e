"""`LSTM`, `GRU` and `RNN` are torch's, for every combination of options and inputs, on both ways they can run."""

import copy
import io
import itertools
import pickle
import re
import warnings

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from checks import flat, gradients
from deeplstm import GRU, LSTM, RNN, backend

T, B, I, H, P = 3, 3, 2, 3, 2
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}  # float64
KINDS = {"LSTM": (LSTM, {}), "GRU": (GRU, {}), "RNN-tanh": (RNN, {}), "RNN-relu": (RNN, {"nonlinearity": "relu"})}


def combinations():
    options = {
        "num_layers": (1, 2, 3),
        "bias": (True, False),
        "batch_first": (False, True),
        "dropout": (0.0, 0.5),
        "bidirectional": (False, True),
        "proj_size": (0, P),
    }
    for name, (kind, fixed) in KINDS.items():
        for values in itertools.product(*options.values()):
            chosen = {key: value for key, value in zip(options, values, strict=True) if value != options[key][0]}
            if chosen.get("dropout") and chosen.get("num_layers", 1) == 1:
                continue  # torch warns: see test_warnings_are_torchs
            if chosen.get("proj_size") and kind is not LSTM:
                continue
            label = ",".join(f"{key}={value}" for key, value in chosen.items()) or "defaults"
            yield pytest.param(kind, {**fixed, **chosen}, id=f"{name}-{label}")


COMBINATIONS = list(combinations())


def twins(kind, **options):
    """Ours and torch's with the same weights, in float64."""
    ours = kind(I, H, **options).double()
    theirs = getattr(torch.nn, kind.__name__)(I, H, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def inputs(form, batch_first):
    """What both are called with, and the tensor in it that has a gradient."""
    if form == "unbatched":
        x = torch.randn(T, I, dtype=torch.float64, requires_grad=True)
        return lambda: x, x
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    if form == "batched":
        return lambda: x.transpose(0, 1) if batch_first else x, x
    lengths, in_order = ([3, 2, 1], True) if form == "packed" else ([1, 3, 2], False)
    return lambda: pack_padded_sequence(x, lengths, enforce_sorted=in_order), x


def states(kind, form, options):
    rows = () if form == "unbatched" else (B,)
    lead = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    widths = (options.get("proj_size") or H, H) if kind is LSTM else (H,)
    parts = tuple(torch.randn(lead, *rows, w, dtype=torch.float64, requires_grad=True) for w in widths)
    return parts if kind is LSTM else parts[0]


@pytest.mark.parametrize(("kind", "options"), COMBINATIONS)
@pytest.mark.parametrize("form", ["batched", "unbatched", "packed", "packed unsorted"])
def test_equal_to_torch(kind, options, form):
    """Outputs, states and the gradient of input, state and every parameter; in training, where dropout draws."""
    ours, theirs = twins(kind, **options)
    call, x = inputs(form, options.get("batch_first", False))
    # torch drops from packed data, in another order than the reference from padded data
    redrawn = options.get("dropout") and form.startswith("packed")
    for training, hx in itertools.product((True, False) if redrawn else (True,), (None, states(kind, form, options))):
        given = [x, *(flat(hx) if hx is not None else [])]

        def run(net, name="auto", hx=hx, given=given, training=training):
            torch.manual_seed(5)
            with backend(name):
                results = net.train(training)(call(), hx)
            return flat(results), gradients(results, [*given, *net.parameters()])

        expected = run(theirs)
        torch.testing.assert_close(run(ours), expected, rtol=0, atol=0)
        if not (redrawn and training):
            torch.testing.assert_close(run(ours, "reference"), expected, **TOLERANCE)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_a_packed_output_is_packed_as_the_input_was(kind, name):
    ours, theirs = twins(kind)
    for lengths, in_order in (([3, 2, 1], True), ([1, 3, 2], False)):
        packed = pack_padded_sequence(torch.randn(T, B, I, dtype=torch.float64), lengths, enforce_sorted=in_order)
        with backend(name):
            got = ours(packed)[0]
        for field, value in theirs(packed)[0]._asdict().items():
            mine = getattr(got, field)
            assert (mine is None) if value is None else torch.allclose(mine, value), field


@pytest.mark.parametrize("form", ["batched", "unbatched", "packed unsorted"])
def test_the_states_of_an_lstm_may_be_a_list(form):
    ours, theirs = twins(LSTM)
    call, _ = inputs(form, False)
    hx = list(states(LSTM, form, {}))
    for name in ("auto", "reference"):
        with backend(name):
            torch.testing.assert_close(flat(ours(call(), hx)), flat(theirs(call(), hx)))


def test_dropout_of_one_and_the_statistics_of_dropout():
    for name in ("auto", "reference"):
        with backend(name):
            all_dropped = LSTM(I, H, 2, dropout=1.0)
            torch.testing.assert_close(
                all_dropped(torch.randn(T, B, I))[0], all_dropped(torch.zeros(T, B, I))[0], rtol=0, atol=0
            )
            wide = RNN(1, 1000, 2, dropout=0.25, bias=False, nonlinearity="relu")
            with torch.no_grad():
                wide.weight_ih_l0.fill_(1.0)
                wide.weight_hh_l0.zero_()
                wide.weight_hh_l1.zero_()
                wide.weight_ih_l1.copy_(torch.eye(1000))
            seen = wide(torch.ones(5, 4, 1))[0]  # (T, B, H): what the second layer read
            assert seen.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
            assert (seen == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
            assert not torch.equal(seen[0], seen[1])
            assert bool((wide.eval()(torch.ones(5, 4, 1))[0] == 1).all())


# ---------------------------------------------------------------- as modules


@pytest.mark.parametrize(("kind", "options"), COMBINATIONS[::7])
def test_state_dicts_move_both_ways(kind, options):
    ours, theirs = twins(kind, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    other = getattr(torch.nn, kind.__name__)(I, H, **options).double()
    assert ours.load_state_dict(other.state_dict()) == other.load_state_dict(ours.state_dict())
    for (name, p), (twin, q) in zip(ours.named_parameters(), other.named_parameters(), strict=True):
        assert name == twin
        assert torch.equal(p, q)


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_they_are_torchs_classes(kind):
    theirs = getattr(torch.nn, kind.__name__)
    ours = kind(I, H, 2, bidirectional=True)
    assert isinstance(ours, theirs)
    assert repr(ours) == repr(theirs(I, H, 2, bidirectional=True))
    assert ours.flatten_parameters() is None
    assert [len(w) for w in ours.all_weights] == [4] * 4
    assert ours.double().weight_ih_l0.dtype == torch.float64
    assert kind(I, H, device="meta", dtype=torch.float16).weight_hh_l0.dtype == torch.float16


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_the_same_seed_starts_with_the_same_weights(kind):
    torch.manual_seed(3)
    ours = kind(I, H, 2)
    torch.manual_seed(3)
    theirs = getattr(torch.nn, kind.__name__)(I, H, 2)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_copies_compute_the_same_and_are_their_own(kind, name):
    net, x = kind(I, H, 2, bidirectional=True), torch.randn(T, B, I)
    file = io.BytesIO()
    torch.save(net, file)
    copies = [
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(io.BytesIO(file.getvalue()), weights_only=False),
    ]
    with backend(name):
        before = net(x)[0].detach()
        for twin in copies:
            assert torch.equal(twin(x)[0], before)
            with torch.no_grad():
                twin.weight_ih_l0.add_(1.0)
            assert not torch.equal(twin(x)[0], before)
        assert torch.equal(net(x)[0], before)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_weights_can_be_exchanged_and_parametrized(name):
    """What pruning, weight norm and functional calls do to a module holds on every backend."""
    net, x = LSTM(I, H), torch.randn(T, B, I)
    other = {key: torch.randn_like(p) for key, p in net.named_parameters()}
    twin = LSTM(I, H)
    twin.load_state_dict(other)
    with backend(name):
        expected = twin(x)[0]
        torch.testing.assert_close(torch.func.functional_call(net, other, (x,))[0], expected)
        net.weight_hh_l0 = torch.nn.Parameter(torch.zeros_like(net.weight_hh_l0))
        torch.testing.assert_close(net(x)[0][1], LSTM.forward(net, x[1:2], tuple(s for s in net(x[:1])[1]))[0][0])
        torch.nn.utils.parametrizations.weight_norm(net, "weight_ih_l0")
        before = net(x)[0]
        with torch.no_grad():
            net.parametrizations.weight_ih_l0.original0.mul_(2.0)
        assert not torch.equal(net(x)[0], before)


def test_torchs_kernels_run_what_they_can_and_the_reference_when_asked():
    from deeplstm import explain

    net, x = LSTM(I, H, 2, bidirectional=True), torch.zeros(T, B, I)
    assert [c.backend for c in explain(net, x).choices] == ["torch"]
    assert [c.backend for c in explain(net, x, lengths=[3, 0, 1]).choices] == ["torch"] * 4
    assert [c.backend for c in explain(net, x, resets=torch.zeros(T, B, dtype=torch.bool)).choices] == ["reference"] * 4
    with backend("reference"):
        assert [c.backend for c in explain(net, x).choices] == ["reference"] * 4


# ---------------------------------------------------------------- mistakes

CONSTRUCTORS = [
    (("LSTM", "GRU", "RNN"), {"dropout": 1.5}),
    (("LSTM", "GRU", "RNN"), {"dropout": True}),
    (("LSTM", "GRU", "RNN"), {"dropout": "0.5"}),
    (("LSTM", "GRU", "RNN"), {"bias": 1}),
    (("LSTM", "GRU", "RNN"), {"batch_first": 1}),
    (("LSTM", "GRU", "RNN"), {"input_size": 0}),
    (("LSTM", "GRU", "RNN"), {"input_size": 2.0}),
    (("LSTM", "GRU", "RNN"), {"hidden_size": -1}),
    (("LSTM", "GRU", "RNN"), {"hidden_size": "3"}),
    (("LSTM", "GRU", "RNN"), {"num_layers": 0}),
    (("LSTM", "GRU", "RNN"), {"layers": 2}),
    (("LSTM",), {"proj_size": -1}),
    (("LSTM",), {"proj_size": 3}),
    (("GRU", "RNN"), {"proj_size": 2}),
    (("RNN",), {"nonlinearity": "sine"}),
]


def outcome(call):
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for names, o in CONSTRUCTORS for n in names], ids=lambda v: str(v)
)
def test_constructor_errors_are_torchs(name, options):
    arguments = {"input_size": 2, "hidden_size": 3, **options}
    theirs = outcome(lambda: getattr(torch.nn, name)(**arguments))
    assert theirs is not None
    assert outcome(lambda: {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[name](**arguments)) == theirs


def test_warnings_are_torchs():
    for kind in (torch.nn.LSTM, LSTM):
        with pytest.warns(UserWarning, match="dropout option adds dropout after all but last recurrent layer"):
            kind(I, H, dropout=0.5)


z = torch.zeros
MISTAKES = {
    "1-D": lambda s: (z(2), None),
    "4-D": lambda s: (z(1, 2, 3, 4), None),
    "width": lambda s: (z(T, B, I + 1), None),
    "width, unbatched": lambda s: (z(T, I + 1), None),
    "dtype": lambda s: (z(T, B, I, dtype=torch.float64), None),
    "integers": lambda s: (z(T, B, I, dtype=torch.int64), None),
    "device": lambda s: (z(T, B, I, device="meta"), None),
    "no steps": lambda s: (z(0, B, I), None),
    "no steps, unbatched": lambda s: (z(0, I), None),
    "state: layers": lambda s: (z(T, B, I), s(3, B, H)),
    "state: batch": lambda s: (z(T, B, I), s(2, B + 1, H)),
    "state: width": lambda s: (z(T, B, I), s(2, B, H + 1)),
    "state: 2-D": lambda s: (z(T, B, I), s(2, H)),
    "state: 3-D, unbatched": lambda s: (z(T, I), s(2, 1, H)),
    "state: width, unbatched": lambda s: (z(T, I), s(2, H + 1)),
    "state: layers, unbatched": lambda s: (z(T, I), s(3, H)),
    "state: device": lambda s: (z(T, B, I), s(2, B, H, device="meta")),
    "state: three": lambda s: (z(T, B, I), (z(2, B, H), z(2, B, H), z(2, B, H))),
    "state: one in a tuple": lambda s: (z(T, B, I), (z(2, B, H),)),
    "state: a number": lambda s: (z(T, B, I), 0),
    "state: text": lambda s: (z(T, B, I), "zeros"),
    "a list": lambda s: ([[1.0, 2.0]], None),
    "nothing": lambda s: (None, None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("batch_first", [False, True])
def test_call_errors_are_torchs(kind, batch_first, mistake):
    """The same exception with the same words, whichever way it runs."""

    def state(*shape, **more):
        part = z(*shape, **more)
        return (part, part) if kind is LSTM else part

    x, hx = MISTAKES[mistake](state)
    x = x.transpose(0, 1) if batch_first and isinstance(x, torch.Tensor) and x.dim() == 3 else x
    ours, theirs = (cls(I, H, 2, batch_first=batch_first) for cls in (kind, getattr(torch.nn, kind.__name__)))
    expected = outcome(lambda: theirs(x, hx))
    assert expected is not None
    for name in ("auto", "reference"):
        with backend(name):
            assert outcome(lambda: ours(x, hx)) == expected, name


@pytest.mark.parametrize("batch_first", [False, True])
def test_more_mistakes_of_an_lstm(batch_first):
    ours, theirs = (cls(I, H, 2, batch_first=batch_first, proj_size=P) for cls in (LSTM, torch.nn.LSTM))
    x = z(B, T, I) if batch_first else z(T, B, I)
    for hx in (z(2, B, P), (z(2, B, P), z(2, B, P)), (z(2, B, H), z(2, B, H)), (z(2, B, P), z(2, H)), (z(2, B, P),)):
        expected = outcome(lambda hx=hx: theirs(x, hx))
        assert expected is not None
        with backend("reference"):
            assert outcome(lambda hx=hx: ours(x, hx)) == expected


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_what_torch_leaves_to_its_kernels_is_said_in_words(kind):
    """A state of another dtype: torch raises too, in the terms of whichever kernel it meets."""
    ours, theirs = kind(I, H), getattr(torch.nn, kind.__name__)(I, H)
    part = z(1, B, H, dtype=torch.float64)
    hx = (part, part) if kind is LSTM else part
    with pytest.raises(RuntimeError):
        theirs(z(T, B, I), hx)
    words = (
        "Input and hidden tensors are not the same dtype, found input tensor with torch.float32 and hidden tensor with "
    )
    with backend("reference"), pytest.raises(RuntimeError, match=words + "torch.float64"):
        ours(z(T, B, I), hx)


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_mistakes_with_packed_sequences(kind):
    """On the reference they have the words of padded input; torch's LSTM checks nothing here, and drops rows in silence."""
    net = kind(I, H)
    narrow, right = (pack_padded_sequence(z(T, B, width), [2, 3, 1], enforce_sorted=False) for width in (I + 1, I))
    rows = z(1, B + 1, H)
    which = "hidden[0]" if kind is LSTM else "hidden"
    with backend("reference"):
        with pytest.raises(
            RuntimeError, match=re.escape("input.size(-1) must be equal to input_size. Expected 2, got 3")
        ):
            net(narrow)
        with pytest.raises(ValueError, match=re.escape("RNN input dtype (torch.float64) does not match weight dtype")):
            net(right.to(torch.float64))
        with pytest.raises(RuntimeError, match=re.escape(f"Expected {which} size")):
            net(right, (rows, rows) if kind is LSTM else rows)


def test_no_warning_comes_from_a_plain_call():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("auto", "reference"):
            with backend(name):
                LSTM(I, H, 2, bidirectional=True)(z(T, B, I), lengths=[3, 0, 2])
