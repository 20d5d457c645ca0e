import inspect
import subprocess
import sys
from typing import get_args

import pytest

import deeplstm
from deeplstm.cells._gates import ACTIVATIONS
from deeplstm.tasks.network.config import CELL_OPTIONS, GATES, Activation, Network

CELLS = {
    "lstm": deeplstm.LSTMCell,
    "gru": deeplstm.GRUCell,
    "rnn": deeplstm.RNNCell,
    "highway": deeplstm.HighwayCell,
}
# the cells' own options that a network offers under other names, or not at all
RENAMED = {"zoneout_c": "zoneout", "deep_gates": "gate_sharing"}
NOT_OFFERED = {"self", "input_size", "hidden_size", "bias", "transform_bias", "device", "dtype"}


def test_reading_the_options_imports_neither_torch_nor_numpy():
    code = "import sys, deeplstm.tasks.network.config; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_defaults_make_sense_for_every_cell():
    for cell in CELLS:
        assert Network(cell=cell).check() == []


def test_the_tables_say_what_the_cells_can_do():
    assert set(get_args(Activation)) == set(ACTIVATIONS)
    for name, cell in CELLS.items():
        options = set(inspect.signature(cell).parameters) - NOT_OFFERED
        assert {RENAMED.get(option, option) for option in CELL_OPTIONS[name]} == options
        assert set(GATES[name]) == set(cell(2, 3).gate_names) or name == "highway"


CHANGED = {
    "peephole": True,
    "coupled": True,
    "proj_size": 4,
    "cell_clip": 3.0,
    "forget_bias": 1.0,
    "zoneout_c": 0.1,
    "reset_after": False,
    "nonlinearity": "relu",
    "micro_steps": 2,
    "norm": True,
    "zoneout": 0.1,
    "recurrent_dropout": 0.1,
    "weight_drop": 0.1,
    "gate_layers": (4,),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("option", CHANGED)
def test_an_option_the_cell_does_not_have_is_a_complaint(cell, option):
    complaints = Network(cell=cell, **{option: CHANGED[option]}).check()
    if option in CELL_OPTIONS[cell]:
        assert complaints == []
    else:
        (complaint,) = complaints
        assert complaint.startswith(f"model.{option}=")
        assert f"cell={cell} has no such option" in complaint


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"layers": 0}, "model.layers=0, but it counts from 1: give 1 or more."),
        ({"width": -1}, "model.width=-1, but"),
        ({"widths": (3, 0)}, "model.widths=3,0, but every size is at least 1"),
        ({"before": (0,)}, "model.before=0, but"),
        ({"cell_clip": 0.0}, "model.cell_clip=0.0, but"),
        ({"init": float("nan")}, "model.init=nan, but"),
        ({"forget_bias": float("inf")}, "model.forget_bias=inf, but"),
        ({"dropout": 1.0}, "model.dropout=1.0, but a probability"),
        ({"zoneout": float("nan")}, "model.zoneout=nan, but a probability"),
        ({"weight_drop": -0.1}, "model.weight_drop=-0.1, but"),
        ({"gate_shortcut": True}, "model.gate_shortcut=True, but no gate has hidden layers"),
        ({"deep_gates": ("forget",)}, "model.deep_gates=forget, but no gate has hidden layers"),
        ({"gate_layers": (4,), "deep_gates": ("reset",)}, "cell=lstm has the gates input, forget, cell, output"),
        ({"gate_layers": (4,), "deep_gates": ("cell", "cell")}, "name each at most once"),
        (
            {"gate_layers": (4,), "deep_gates": ("input",), "coupled": True},
            "coupled cell=lstm has the gates forget, cell, output",
        ),
        ({"widths": (8, 8), "layers": 3}, "model.layers=3, but widths=8,8 says 2"),
        ({"widths": (8, 8), "width": 8}, "model.width=8, but widths=8,8 is given in its place"),
        ({"widths": (8, 4), "proj_size": 4}, "model.proj_size=4, but"),
        ({"layers": 1, "between": (8,)}, "model.between=8, but it goes between layers"),
        ({"widths": (8, 4), "before": (3,), "skip": "residual", "mlp_activation": "relu"}, "none of 3,8,4 does"),
        ({"widths": (8, 8), "before": (3,), "between": (5,), "skip": "highway"}, "none of 3,5,8 does"),
        ({"variational": True}, "model.variational=True, but dropout is 0"),
        ({"mlp_activation": "relu"}, "model.mlp_activation=relu, but there are no hidden layers"),
    ],
)
def test_one_complaint_about_each_model_that_makes_no_sense(model, complaint):
    (found,) = Network(**model).check()
    assert complaint in found


def test_all_complaints_come_at_once():
    assert len(Network(cell="gru", peephole=True, layers=0, dropout=2.0).check()) == 3


@pytest.mark.parametrize(
    "model",
    [
        {"widths": (8, 4), "skip": "dense"},
        {"widths": (8, 4), "between": (4,), "skip": "residual"},
        {"widths": (4, 8), "before": (4,), "skip": "highway"},
        {"layers": 1, "width": 8, "before": (8,), "skip": "residual", "mlp_activation": "relu"},
        {"gate_layers": (4, 5), "deep_gates": ("forget", "output"), "gate_activation": "gelu", "gate_shortcut": True},
        {"cell": "highway", "coupled": False},
    ],
)
def test_no_complaint_about_models_that_make_sense(model):
    assert Network(**model).check() == []


@pytest.mark.parametrize("reads", [None, 4, 5])
def test_a_first_layer_that_may_keep_its_width(reads):
    """A table's columns are not counted before it is read."""
    complaints = Network(widths=(4, 8), skip="residual").check(reads)
    assert [line.split(",")[0] for line in complaints] == (["model.skip=residual"] if reads == 5 else [])
