"""One table of cells and one of shapes; they feed every shared test. `test_table.py` fails when one is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deeplstm import GRUCell, HighwayCell, LSTMCell, RNNCell, mark
from deeplstm.cells._cell import Cell


@dataclass(frozen=True)
class Case:
    """A cell class with options; ``make`` builds it, with every parameter drawn so that none of them is without effect."""

    name: str
    cell: type
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, input_size: int = 3, hidden_size: int = 4, dtype: torch.dtype = torch.float64) -> Any:
        return drawn(self.cell(input_size, hidden_size, **self.options)).to(dtype)

    @property
    def is_noisy(self) -> bool:
        return any(name in self.options for name in ("zoneout", "recurrent_dropout", "weight_drop"))


def drawn(module: nn.Module) -> Any:
    """Draw all parameters anew: the gains of norms stand around 1, everything else around 0."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.5)
    return module


def _cases(cell: type, **options: dict[str, Any]) -> list[Case]:
    return [Case(f"{cell.__name__}-{name}", cell, given) for name, given in options.items()]


_NOISE = {"zoneout": 0.3, "recurrent_dropout": 0.4, "weight_drop": 0.2}

CELLS = [
    *_cases(
        LSTMCell,
        plain={},
        no_bias={"bias": False},
        peephole={"peephole": True},
        coupled={"coupled": True},
        coupled_peephole={"coupled": True, "peephole": True},
        norm={"norm": True},
        norm_no_bias={"norm": True, "bias": False},
        proj={"proj_size": 2},
        clip={"cell_clip": 0.3},
        forget_bias={"forget_bias": 1.0},
        deep={"gate_layers": (5,)},
        deep_twice={"gate_layers": (5, 3), "gate_activation": "silu"},
        deep_shortcut={"gate_layers": (5,), "gate_shortcut": True},
        deep_norm={"gate_layers": (5, 3), "norm": True},
        deep_no_bias={"gate_layers": (5, 2), "bias": False, "norm": True},
        separate={"gate_layers": (3,), "gate_sharing": "separate"},
        separate_coupled={"gate_layers": (3,), "gate_sharing": "separate", "coupled": True, "peephole": True},
        one_gate={"gate_sharing": {"forget": (5,)}},
        two_gates={"gate_sharing": {"input": (5,), "output": (3, 2)}, "norm": True, "proj_size": 2},
        zoneout={"zoneout": 0.3},
        zoneout_c={"zoneout": (0.0, 0.5), "proj_size": 2},
        recurrent_dropout={"recurrent_dropout": 0.4},
        weight_drop={"weight_drop": 0.3},
        everything={
            **_NOISE,
            "zoneout": (0.3, 0.2),
            "gate_layers": (4,),
            "gate_sharing": "separate",
            "gate_activation": "gelu",
            "gate_shortcut": True,
            "peephole": True,
            "norm": True,
            "proj_size": 2,
            "cell_clip": 0.5,
            "forget_bias": 1.0,
        },
        everything_coupled={
            **_NOISE,
            "gate_sharing": {"forget": (3,), "cell": (2,)},
            "gate_shortcut": True,
            "coupled": True,
            "peephole": True,
            "norm": True,
            "cell_clip": 0.5,
        },
    ),
    *_cases(
        GRUCell,
        plain={},
        no_bias={"bias": False},
        original={"reset_after": False},
        original_no_bias={"reset_after": False, "bias": False},
        norm={"norm": True},
        original_norm={"reset_after": False, "norm": True},
        deep={"gate_layers": (5,)},
        deep_shortcut={"gate_layers": (5, 3), "gate_shortcut": True, "gate_activation": "softplus"},
        original_deep={"reset_after": False, "gate_layers": (5,)},
        original_deep_shortcut={"reset_after": False, "gate_layers": (5,), "gate_shortcut": True, "norm": True},
        separate={"gate_layers": (3,), "gate_sharing": "separate"},
        candidate={"gate_sharing": {"candidate": (5,)}},
        original_candidate={"gate_sharing": {"candidate": (5,)}, "reset_after": False, "norm": True},
        original_gates={"gate_sharing": {"reset": (3,), "update": (2, 5)}, "reset_after": False, "norm": True},
        zoneout={"zoneout": 0.3},
        recurrent_dropout={"recurrent_dropout": 0.4},
        weight_drop={"weight_drop": 0.3},
        everything={**_NOISE, "gate_layers": (4,), "gate_shortcut": True, "norm": True},
        original_everything={**_NOISE, "reset_after": False, "gate_layers": (4,), "gate_shortcut": True, "norm": True},
    ),
    *_cases(
        RNNCell,
        plain={},
        relu={"nonlinearity": "relu"},
        no_bias={"bias": False},
        norm={"norm": True},
        deep={"gate_layers": (5,), "gate_activation": "relu"},
        deep_shortcut={"gate_layers": (5, 3), "gate_shortcut": True, "gate_activation": "sigmoid"},
        separate={"gate_layers": (3,), "gate_sharing": "separate", "gate_activation": "identity"},
        named={"gate_sharing": {"hidden": (3,)}},
        zoneout={"zoneout": 0.3},
        recurrent_dropout={"recurrent_dropout": 0.4},
        weight_drop={"weight_drop": 0.3},
        everything={**_NOISE, "gate_layers": (4,), "gate_shortcut": True, "norm": True},
    ),
    *_cases(
        HighwayCell,
        plain={},
        one={"micro_steps": 1},
        free={"coupled": False, "micro_steps": 2},
        no_bias={"bias": False, "micro_steps": 2},
        torch_start={"transform_bias": None},
        norm={"norm": True, "micro_steps": 2},
        zoneout={"zoneout": 0.3},
        recurrent_dropout={"recurrent_dropout": 0.4},
        weight_drop={"weight_drop": 0.3},
        everything={**_NOISE, "coupled": False, "norm": True, "micro_steps": 2},
    ),
]
PLAIN = [case for case in CELLS if case.name in ("LSTMCell-plain", "GRUCell-plain", "RNNCell-plain", "RNNCell-relu")]
FUSED = PLAIN + [case for case in CELLS if case.name in ("LSTMCell-no_bias", "LSTMCell-proj", "GRUCell-no_bias")]


# ---------------------------------------------------------------- programs of every form

Form = Callable[["Small", Tensor, Tensor], tuple[Tensor, Tensor]]


class Small(Cell):
    """A cell of a line or two, (output, new state) as a function of itself, x and h: what is peculiar is its program."""

    def __init__(self, input_size: int, hidden_size: int, form: Form) -> None:
        super().__init__(input_size, hidden_size, {"form": form})
        self.inputs, self.recurrent = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.first, self.second = nn.Linear(hidden_size, 3), nn.Linear(3, 2)

    def step(self, x: Tensor, state: Tensor, noise: Any) -> tuple[Tensor, Tensor]:
        y, new = self.options["form"](self, x, state)
        return y, mark(new, "new")


def _both(new: Callable[[Small, Tensor, Tensor], Tensor]) -> Form:
    """A new state that is the output too."""
    return lambda c, x, h: (new(c, x, h),) * 2


def _read(output: Callable[[Small, Tensor], Tensor]) -> Form:
    """A plain new state, and what an output makes of it."""

    def step(c: Small, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(c.inputs(x) + c.recurrent(h))
        return output(c, new), new

    return step


def _unlike_columns(c: Small, x: Tensor, h: Tensor) -> Tensor:
    z = c.inputs(x) + h
    return torch.cat([torch.tanh(z[:, :1]), torch.sigmoid(z[:, 1:])], 1)


_FORMS: dict[str, Form] = {
    # h itself is added: its gradient is what the weights' gradients are made of
    "added": _both(lambda c, x, h: c.inputs(x) + h),
    "added_tanh": _both(lambda c, x, h: torch.tanh(c.inputs(x) + h)),
    "added_relu": _both(lambda c, x, h: torch.relu(c.inputs(x) + h)),
    "added_softmax": _both(lambda c, x, h: torch.softmax(c.inputs(x) + h, 1)),
    "added_norm": _both(lambda c, x, h: F.layer_norm(c.inputs(x) + h, h.shape[1:])),
    "added_columns": _both(_unlike_columns),
    "residual": _both(lambda c, x, h: h + torch.tanh(c.inputs(x) + c.recurrent(h))),
    # products after the loop, of what others after the loop make
    "output_relu": _read(lambda c, new: c.second(torch.relu(c.first(new)))),
    "output_silu": _read(lambda c, new: c.second(F.silu(c.first(new)))),
    "output_gelu": lambda c, x, h: (
        c.second(F.gelu(c.first(torch.tanh(c.inputs(x) + h)))),
        torch.tanh(c.inputs(x) + h),
    ),
    "output_of_inputs": lambda c, x, h: (c.second(F.silu(c.first(c.inputs(x)))), torch.tanh(c.inputs(x) + h)),
    # nothing goes back from the output
    "output_detached": _read(lambda c, new: c.first(new).detach()),
    "output_masked": _read(lambda c, new: (new > 0).to(new.dtype)),
}
FORMS = [Case(f"form-{name}", Small, {"form": form}) for name, form in _FORMS.items()]
"""Cells that are in no package: all that is peculiar about a program, in as few lines as can be."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a call: T steps, B rows, I inputs, H hidden; and how many steps each row has."""

    name: str
    T: int
    B: int
    I: int
    H: int
    lengths: tuple[int, ...] | None = None


SHAPES = [
    Shape("ones", 1, 1, 1, 3),
    Shape("T=1", 1, 3, 2, 4),
    Shape("B=1", 4, 1, 3, 5),
    Shape("H=1", 4, 2, 3, 1),
    Shape("7", 3, 2, 5, 7),
    Shape("31", 2, 3, 7, 31),
    Shape("33 and 65", 2, 2, 33, 65),
    Shape("lengths", 5, 4, 2, 3, (3, 5, 0, 1)),
    Shape("all empty", 3, 2, 2, 3, (0, 0)),
    Shape("T=0", 0, 2, 3, 4),
    Shape("T=0 with lengths", 0, 2, 3, 4, (0, 0)),
    Shape("B=0", 3, 0, 3, 4),
    Shape("nothing", 0, 0, 3, 4),
]


def cells(cases: list[Case] = CELLS, argument: str = "case") -> Any:
    """Run a test for every cell of the table."""
    return pytest.mark.parametrize(argument, cases, ids=lambda case: case.name)


def shapes(given: list[Shape] = SHAPES) -> Any:
    """Run a test for every shape of the table."""
    return pytest.mark.parametrize("shape", given, ids=lambda shape: shape.name)
