"""What a wrong option, input or state is told: all of it at once, with what was given, what is expected and what to do."""

import re

import pytest
import torch

from deeplstm import GRUCell, HighwayCell, LSTMCell, RNNCell

PROBABILITY = "a probability in [0, 1) is expected"
WHOLE = "a whole number of at least 1 is expected"

WRONG = [
    (LSTMCell, {"input_size": 0}, f"input_size=0 is given, {WHOLE}"),
    (LSTMCell, {"hidden_size": -3}, f"hidden_size=-3 is given, {WHOLE}"),
    (LSTMCell, {"hidden_size": "4"}, f"hidden_size='4' is given, {WHOLE}"),
    (LSTMCell, {"hidden_size": 4.0}, f"hidden_size=4.0 is given, {WHOLE}"),
    (LSTMCell, {"hidden_size": True}, f"hidden_size=True is given, {WHOLE}"),
    (LSTMCell, {"recurrent_dropout": 1.0}, f"recurrent_dropout=1.0 is given, {PROBABILITY}"),
    (LSTMCell, {"recurrent_dropout": "0.5"}, f"recurrent_dropout='0.5' is given, {PROBABILITY}"),
    (LSTMCell, {"weight_drop": -0.1}, f"weight_drop=-0.1 is given, {PROBABILITY}"),
    (LSTMCell, {"weight_drop": float("nan")}, f"weight_drop=nan is given, {PROBABILITY}"),
    (LSTMCell, {"zoneout": (0.5, 2)}, f"zoneout_c=2 is given, {PROBABILITY}"),
    (LSTMCell, {"zoneout": (0.5,)}, "zoneout=(0.5,) is given, one probability or a pair (for h, for c) is expected"),
    (GRUCell, {"zoneout": 1}, f"zoneout=1 is given, {PROBABILITY}"),
    (RNNCell, {"zoneout": (0.1, 0.1)}, f"zoneout=(0.1, 0.1) is given, {PROBABILITY}"),
    (HighwayCell, {"zoneout": True}, f"zoneout=True is given, {PROBABILITY}"),
    (LSTMCell, {"proj_size": 4}, "proj_size=4 is given, a whole number from 0 to below hidden_size=4 is expected"),
    (LSTMCell, {"proj_size": -1}, "proj_size=-1 is given, a whole number from 0 to below hidden_size=4 is expected"),
    (LSTMCell, {"proj_size": 2.0}, "proj_size=2.0 is given, a whole number from 0 to below hidden_size=4 is expected"),
    (LSTMCell, {"cell_clip": 0}, "cell_clip=0 is given, a number above 0 is expected"),
    (LSTMCell, {"cell_clip": "1"}, "cell_clip='1' is given, a number above 0 is expected"),
    (LSTMCell, {"forget_bias": "1"}, "forget_bias='1' is given, a number is expected"),
    (LSTMCell, {"forget_bias": 1.0, "bias": False}, "forget_bias=1.0 is given with bias=False: leave one of them out"),
    (HighwayCell, {"transform_bias": float("inf")}, "transform_bias=inf is given, a number is expected"),
    (HighwayCell, {"micro_steps": 0}, f"micro_steps=0 is given, {WHOLE}"),
    (RNNCell, {"nonlinearity": "sine"}, "nonlinearity='sine' is given, 'tanh' or 'relu' is expected"),
    (GRUCell, {"gate_layers": (8, 0)}, f"gate_layers[1]=0 is given, {WHOLE}"),
    (GRUCell, {"gate_layers": None}, f"gate_layers[0]=None is given, {WHOLE}"),
    (GRUCell, {"gate_layers": "64"}, f"gate_layers[0]='64' is given, {WHOLE}"),
    (LSTMCell, {"gate_sharing": {"forget": (3, -1)}}, f"gate_sharing['forget'][1]=-1 is given, {WHOLE}"),
    (
        LSTMCell,
        {"gate_sharing": {"forgot": (3,)}},
        "gate_sharing names forgot, this cell's gates are input, forget, cell, output",
    ),
    (
        LSTMCell,
        {"gate_sharing": {"input": (3,)}, "coupled": True},
        "gate_sharing names input, this cell's gates are forget, cell, output",
    ),
    (
        LSTMCell,
        {"gate_sharing": {"forget": (3,)}, "gate_layers": (5,)},
        "gate_layers=(5,) and a gate_sharing per gate are given: put the layers into the dict alone",
    ),
    (
        RNNCell,
        {"gate_sharing": "all"},
        "gate_sharing='all' is given, 'shared', 'separate' or a dict per gate is expected",
    ),
    (
        LSTMCell,
        {"gate_activation": "swish"},
        "gate_activation='swish' is given, one of tanh, relu, gelu, silu, sigmoid, softplus, identity is expected",
    ),
    (
        LSTMCell,
        {"gate_activation": ["tanh"]},
        "gate_activation=['tanh'] is given, one of tanh, relu, gelu, silu, sigmoid, softplus, identity is expected",
    ),
    (
        LSTMCell,
        {"gate_shortcut": True},
        "gate_shortcut=True is given, but no gate has hidden layers: set gate_layers, or leave it out",
    ),
]


@pytest.mark.parametrize(("cell", "options", "message"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_option(cell, options, message):
    with pytest.raises(ValueError, match=rf"^{cell.__name__}: {re.escape(message)}\.$"):
        cell(**{"input_size": 3, "hidden_size": 4, **options})


def test_every_wrong_option_at_once():
    with pytest.raises(ValueError) as error:
        LSTMCell(
            0, 4, proj_size=9, cell_clip=-1, zoneout=2, recurrent_dropout=1, weight_drop=-1, gate_activation="x",
            gate_shortcut=True, forget_bias="no",
        )  # fmt: skip
    names = re.findall(r"(\w+)=\S+ is given", str(error.value))
    assert set(names) == {
        "input_size", "proj_size", "cell_clip", "zoneout_h", "zoneout_c", "recurrent_dropout", "weight_drop",
        "gate_activation", "gate_shortcut", "forget_bias",
    }  # fmt: skip


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="unexpected keyword argument 'peephol'"):
        LSTMCell(3, 4, peephol=True)


z = torch.zeros
CALLS = [
    (
        (z(2, 7),),
        "input of shape (2, 7) is given, but input_size=3 asks for (B, 3)",
    ),
    (
        (z(2, 3, dtype=torch.float64),),
        "input of torch.float64 is given, but the weights are torch.float32: convert one of them",
    ),
    (
        (z(2, 3, device="meta"),),
        "input on meta is given, but the weights are on cpu: move one of them",
    ),
    (
        (z(2, 3), (z(2, 4), z(5, 4))),
        "a state of shapes [(2, 4), (5, 4)] is given, [(2, 4), (2, 4)] is expected for this input",
    ),
    (
        (z(2, 3), z(2, 4)),
        "a state of shapes [(2, 4)] is given, [(2, 4), (2, 4)] is expected for this input",
    ),
    (
        (z(2, 3), (z(2, 4), "c")),
        "a state of shapes [(2, 4), 'str'] is given, [(2, 4), (2, 4)] is expected for this input",
    ),
    (
        (z(2, 3), (z(2, 4), z(2, 4, dtype=torch.float64))),
        "a state of torch.float64 is given, but the input is torch.float32: convert one",
    ),
    (
        (z(2, 7, dtype=torch.float64), (z(2, 5), z(2, 4))),
        "input of shape (2, 7) is given, but input_size=3 asks for (B, 3); "
        "a state of shapes [(2, 5), (2, 4)] is given, [(2, 4), (2, 4)] is expected for this input",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), CALLS, ids=lambda v: str(v)[:30])
def test_a_wrong_call(arguments, message):
    with pytest.raises(ValueError, match=rf"^LSTMCell: {re.escape(message)}\.$"):
        LSTMCell(3, 4)(*arguments)


def test_a_cell_with_one_state_says_so():
    with pytest.raises(
        ValueError, match=re.escape("GRUCell: a state of shapes ['tuple'] is given, [(2, 4)] is expected")
    ):
        GRUCell(3, 4)(z(2, 3), (z(2, 4), z(2, 4)))


def test_an_input_that_is_no_tensor():
    with pytest.raises(
        TypeError, match=re.escape("RNNCell got an input of type list, but a tensor (B, 3) is expected.")
    ):
        RNNCell(3, 4)([[1.0, 2.0, 3.0]])
