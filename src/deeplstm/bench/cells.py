"""The cells that are timed beside the plain LSTM."""

from collections.abc import Callable

from torch import nn

import deeplstm
from deeplstm.bench.cases import Case
from deeplstm.cells._cell import Cell
from deeplstm.recurrence.scan import Memory

LSTM = "lstm"
GRU = "gru torch form"

CELLS: dict[str, Callable[[int], Cell]] = {
    LSTM: lambda H: deeplstm.LSTMCell(H, H),
    "deep gates": lambda H: deeplstm.LSTMCell(H, H, gate_layers=(2 * H,)),
    "peephole": lambda H: deeplstm.LSTMCell(H, H, peephole=True),
    "coupled": lambda H: deeplstm.LSTMCell(H, H, coupled=True),
    "layer norm": lambda H: _gains_of_a_tenth(deeplstm.LSTMCell(H, H, norm=True)),
    "zoneout": lambda H: deeplstm.LSTMCell(H, H, zoneout=0.1),
    "recurrent dropout": lambda H: deeplstm.LSTMCell(H, H, recurrent_dropout=0.25),
    "gru original": lambda H: deeplstm.GRUCell(H, H, reset_after=False),
    GRU: lambda H: deeplstm.GRUCell(H, H),
    "highway": lambda H: deeplstm.HighwayCell(H, H, micro_steps=3),
}
"""By name: what makes a cell with H inputs and H units."""


def stack_of(cell: str, case: Case, memory: Memory = "save") -> deeplstm.Stack:
    return deeplstm.Stack(*(deeplstm.Recurrent(CELLS[cell](case.H), memory=memory) for _ in range(case.L)))


def _gains_of_a_tenth(cell: Cell) -> Cell:
    """Cooijmans et al. 2017. At 1 the gradient grows so over 100 steps that rounding alone moves it by percents, and nothing
    could be checked.
    """
    for name, parameter in cell.named_parameters():
        if name.startswith("norm_") and name.endswith("weight"):
            nn.init.constant_(parameter, 0.1)
    return cell
