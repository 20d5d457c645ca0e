"""What `Stack` says of layers and inputs that do not fit, and what it prints."""

import re

import pytest
import torch
from torch import nn

from deeplstm import GRU, MLP, GRUCell, LSTMCell, Readout, Recurrent, Stack, VariationalDropout

z = torch.zeros


def test_every_pair_of_widths_that_does_not_fit_at_once():
    message = (
        "Stack: layer 1 (LSTMCell) has input size 7, but reads 8: what layer 0 gives; "
        "layer 3 (Linear) has input size 1, but reads 5: what layer 2 gives."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Stack(MLP(4, 8), LSTMCell(7, 5), nn.Dropout(0.1), nn.Linear(1, 2))


def test_widths_of_dense_links_are_sums():
    message = "layer 2 (GRUCell) has input size 6, but reads 15: the input and all earlier outputs together"
    with pytest.raises(ValueError, match=re.escape(message)):
        Stack(GRUCell(4, 5), GRUCell(9, 6), GRUCell(6, 6), skip="dense")
    with pytest.raises(ValueError, match=re.escape("layer 2 (GRUCell) has input size 12, but reads 8")):
        Stack(nn.Embedding(9, 4), GRUCell(4, 4), GRUCell(12, 4), skip="dense")


def test_a_readout_reads_the_width_beside_it():
    with pytest.raises(
        ValueError, match=re.escape("layer 1 (Readout) has input size 3, but reads 5: what layer 0 gives")
    ):
        Stack(GRUCell(4, 5), Readout(MLP(3, 2)))
    with pytest.raises(ValueError, match=re.escape("layer 2 (GRUCell) has input size 2, but reads 5")):
        Stack(GRUCell(4, 5), Readout(MLP(5, 2)), GRUCell(2, 5))


class Halves(nn.Module):
    """A module without weights that changes the width."""

    def forward(self, x):
        return x[..., ::2]


@pytest.mark.parametrize(
    "layers",
    [
        (MLP(4, 8), nn.GLU(), GRUCell(4, 3)),
        (MLP(4, 8), Halves(), GRUCell(4, 3)),
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)), GRUCell(5, 3)),
        (nn.Sequential(nn.Linear(4, 8), nn.GLU()), GRUCell(4, 3)),
        (nn.Dropout(0.1), GRUCell(4, 3), nn.LayerNorm(3), nn.Identity(), nn.GELU(), GRUCell(3, 3)),
        (Recurrent(GRUCell(4, 3), bidirectional=True), GRU(6, 2, bidirectional=True), nn.RMSNorm(4), GRUCell(4, 3)),
        (nn.Linear(4, 6), nn.BatchNorm1d(6), VariationalDropout(0.1), GRUCell(6, 3)),
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_layers_that_fit(layers):
    y, _ = Stack(*layers).eval()(z(3, 2, 4))
    assert y.shape == (3, 2, 3)


def test_a_sequence_of_layers_has_the_widths_of_its_ends():
    with pytest.raises(ValueError, match=re.escape("layer 1 (GRUCell) has input size 4, but reads 5")):
        Stack(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh()), GRUCell(4, 3))
    assert Stack(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.ReLU()), skip="residual").linked == [True]


CONSTRUCTORS = [
    ((), {}, ValueError, "no layer is given, at least one is expected"),
    (
        (GRUCell(3, 3),),
        {"skip": "dens"},
        ValueError,
        "skip='dens' is given, None, 'residual', 'dense' or 'highway' is expected",
    ),
    ((GRUCell(3, 3),), {"dropout": 1.0}, ValueError, "dropout=1.0 is given, a probability in [0, 1) is expected"),
    (
        (GRUCell(3, 4), GRUCell(4, 5)),
        {"skip": "residual"},
        ValueError,
        "skip='residual' is given, but no layer keeps its width, so there is nothing to link. Give layers the same",
    ),
    ((GRUCell(3, 4), [GRUCell(4, 4)]), {}, TypeError, "Stack got list as layer 1, but an nn.Module is expected."),
    ((GRUCell,), {}, TypeError, "Stack got type as layer 0, but an nn.Module is expected."),
    (
        (nn.LSTM(3, 4),),
        {},
        TypeError,
        "Stack got torch.nn.LSTM as layer 0: use deeplstm.LSTM, which takes the same arguments.",
    ),
    (
        (GRUCell(3, 4), nn.GRUCell(4, 4)),
        {},
        TypeError,
        "Stack got torch.nn.GRUCell as layer 1: use deeplstm.GRUCell, which takes the same arguments.",
    ),
    (
        (Recurrent(GRUCell(3, 4), batch_first=True),),
        {},
        ValueError,
        "Stack got layer 0 (GRUCell) with batch_first=True, but layers inside run time-major. Give batch_first to the Stack",
    ),
]


@pytest.mark.parametrize(("layers", "options", "kind", "message"), CONSTRUCTORS, ids=lambda v: str(v)[:30])
def test_a_stack_that_cannot_be_built(layers, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        Stack(*layers, **options)


CALLS = [
    (
        {"x": z(5, 2, 4)},
        ValueError,
        "Stack got input of shape (5, 2, 4), but its first layer, GRUCell, asks for (T, B, 3). Check",
    ),
    (
        {"x": z(5, 3)},
        ValueError,
        "Stack got input of shape (5, 3), but its first layer, GRUCell, asks for (T, B, 3). Check",
    ),
    ({"x": [1.0]}, TypeError, "Stack got an input of type list, but a tensor (T, B, ...) is expected."),
    (
        {"state": z(2, 4)},
        ValueError,
        "Stack got a state of Tensor, but a tuple of 2 is expected, one for each layer with a state",
    ),
    ({"state": (z(2, 4),)}, ValueError, "Stack got a state of 1 entries, but a tuple of 2 is expected"),
    ({"state": (z(2, 4), z(2, 9))}, ValueError, "state has shapes (2, 9), (2, 5) is expected"),
    ({"lengths": [1, 9]}, ValueError, "Stack: lengths contain [9], numbers from 0 to T=5 are expected."),
    ({"resets": z(5, 2)}, ValueError, "Stack: resets are torch.float32, a tensor of torch.bool is expected."),
    (
        {"lengths": [1], "resets": z(2, 5, dtype=torch.bool)},
        ValueError,
        "Stack: lengths have shape (1,), (2,) is expected: one for each row of the batch; "
        "resets have shape (2, 5), (T, B) = (5, 2) is expected.",
    ),
]


@pytest.mark.parametrize(("given", "kind", "message"), CALLS, ids=lambda v: str(v)[:30])
def test_a_call_that_does_not_fit(given, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        Stack(GRUCell(3, 4), GRUCell(4, 5))(**{"x": z(5, 2, 3), **given})


def test_shapes_in_the_order_of_the_caller():
    with pytest.raises(ValueError, match=re.escape("asks for (B, T, 3)")):
        Stack(GRUCell(3, 4), batch_first=True)(z(5, 2, 4))


class Means(nn.Module):
    def forward(self, x):
        return x.mean(0)


@pytest.mark.parametrize(("layer", "given"), [(Means(), "shape (3,)"), (nn.MultiheadAttention(3, 1), None)])
def test_a_layer_that_does_not_treat_every_step_alike(layer, given):
    if given is None:  # asks for three arguments
        with pytest.raises(TypeError, match="missing 2 required positional arguments"):
            Stack(layer)(z(5, 2, 3))
        return
    message = (
        f"Stack called Means on (T * B, ...) = (10, 3) and got {given}, but a tensor with as many rows is expected."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Stack(layer)(z(5, 2, 3))


# ---------------------------------------------------------------- what it prints

PLAIN = """\
Stack of 4 layers, 964,736 parameters, skip='residual'
     layer                                       reads        gives        link      parameters
  0  MLP(64, 128, activation='tanh')             (T, B, 64)   (T, B, 128)                 8,320
  1  LSTMCell(128, 256, gate_layers=(256,))      (T, B, 128)  (T, B, 256)               361,728
  2  LSTMCell(256, 256, norm=True, zoneout=0.1)  (T, B, 256)  (T, B, 256)  residual     528,896
  3  MLP(256, 256, activation='tanh')            (T, B, 256)  (T, B, 256)  residual      65,792"""


def test_a_stack_prints_shapes_and_parameters():
    stack = Stack(
        MLP(64, 128),
        LSTMCell(128, 256, gate_layers=(256,)),
        LSTMCell(256, 256, norm=True, zoneout=0.1),
        MLP(256, 256),
        skip="residual",
    )
    assert repr(stack) == PLAIN


def test_every_kind_of_layer_prints_in_one_line():
    stack = Stack(
        nn.Embedding(9, 4),
        Recurrent(LSTMCell(4, 5), reverse=True),
        nn.Dropout(0.1),
        nn.Sequential(nn.Linear(5, 5), nn.ReLU()),
        Readout(MLP(5, 2)),
        GRU(5, 4, bidirectional=True),
        Stack(GRUCell(8, 8), GRUCell(8, 8), skip="highway"),
        dropout=0.1,
        variational=True,
        batch_first=True,
    )
    lines = repr(stack).splitlines()
    assert lines[0] == "Stack of 7 layers, 1,570 parameters, variational dropout 0.1 between layers, batch_first=True"
    rows = [re.split(r" {2,}", line.strip()) for line in lines[2:]]
    assert [row[1] for row in rows] == [
        "Embedding(9, 4)",
        "LSTMCell(4, 5), reverse",
        "Dropout(p=0.1, inplace=False)",
        "Sequential(Linear(in_features=5, out_features=5, bias=True), ReLU())",
        "Readout(MLP(5, 2, activation='tanh'))",
        "GRU(5, 4, bidirectional=True)",
        "Stack(GRUCell(8, 8), GRUCell(8, 8))",
    ]
    assert rows[0][2:4] == ["(B, T)", "(B, T, 4)"]
    assert sum(int(row[-1].replace(",", "")) for row in rows) == sum(p.numel() for p in stack.parameters())


def test_dense_links_are_printed():
    text = repr(Stack(GRUCell(2, 3), GRUCell(5, 4), GRUCell(9, 1), skip="dense"))
    links = [re.split(r" {2,}", line.strip())[4] for line in text.splitlines()[3:]]
    assert links == ["dense 0", "dense 0-1"]
