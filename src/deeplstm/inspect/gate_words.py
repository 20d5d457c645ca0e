"""What the gates of the built-in cells are for, in words, and which nonlinearity each has."""

from __future__ import annotations

from torch import nn

from ..cells._cell import Cell
from ..cells.gru import GRUCell
from ..cells.highway import HighwayCell
from ..cells.lstm import LSTMCell
from ..cells.rnn import RNNCell

_WORDS: dict[type[Cell], dict[str, tuple[str, str]]] = {
    LSTMCell: {
        "input": ("sigmoid", "how much of the candidate is written to the memory c"),
        "forget": ("sigmoid", "how much of the memory c is kept"),
        "cell": ("tanh", "the candidate: what could be written"),
        "output": ("sigmoid", "how much of the memory c is shown as h"),
    },
    GRUCell: {
        "reset": ("sigmoid", "how much of h_prev the candidate sees"),
        "update": ("sigmoid", "how much of h_prev is kept"),
        "candidate": ("tanh", "what h moves to where it is not kept"),
    },
    RNNCell: {"hidden": ("tanh", "the new h")},
    HighwayCell: {
        "candidate": ("tanh", "what the state moves to"),
        "transform": ("sigmoid", "how much of the candidate enters"),
        "carry": ("sigmoid", "how much of the state is kept"),
    },
}


def nonlinearity(cell: nn.Module, gate: str) -> str:
    """By name; "f" for a gate of a cell that this library does not know."""
    return getattr(cell, "nonlinearity", None) or _of(cell, gate)[0]


def what_it_does(cell: nn.Module, gate: str) -> str:
    """In words; nothing for a gate of a cell that this library does not know."""
    return _of(cell, gate)[1]


def _of(cell: nn.Module, gate: str) -> tuple[str, str]:
    """A gate's words; "candidate 2" of a micro-step is a "candidate"."""
    words = next((words for kind, words in _WORDS.items() if isinstance(cell, kind)), {})
    return words.get(gate.split(" ")[0], ("f", ""))
