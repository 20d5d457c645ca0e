"""What is timed: the same recurrence, with the same weights, in the hands of different code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import deeplstm

PEER = "torch.nn.LSTM"
"""Every time is compared with this one's."""


class Case(NamedTuple):
    """Steps, rows, units (of the input and of every layer) and layers."""

    T: int
    B: int
    H: int
    L: int

    def __str__(self) -> str:
        return f"({self.T},{self.B},{self.H},{self.L})"


GRID = [Case(100, 1, 64, 1), Case(100, 32, 64, 2), Case(256, 16, 128, 3), Case(100, 64, 256, 2), Case(100, 32, 512, 2)]
QUICK = [Case(7, 3, 8, 2)]


@dataclass
class Contestant:
    """One way to run one kind of cell.

    Attributes:
        cell: the kind; contestants of a kind have the same weights and must agree.
        run: x (T, B, H) -> (y (T, B, H), state), the state (h, c), (L, B, H) each, or such a pair for each layer, (B, H).
        parameters: by the names that `torch.nn.LSTM` or the first contestant of the kind gives them.
    """

    cell: str
    name: str
    run: Callable[[Tensor], tuple[Tensor, Any]]
    parameters: dict[str, nn.Parameter]


def contestants(case: Case, *, compiled: bool) -> Iterator[list[Contestant]]:
    """For each kind of cell its contestants, the one that defines what is right first."""
    torch.manual_seed(0)
    yield plain(case)
    yield deepened("layer norm", case, compiled, norm=True)
    yield deepened("deep gates", case, compiled, gate_layers=(2 * case.H,))


def plain(case: Case) -> list[Contestant]:
    """The LSTM that torch knows."""
    peer = nn.LSTM(case.H, case.H, case.L)
    ours = deeplstm.LSTM(case.H, case.H, case.L)
    ours.load_state_dict(peer.state_dict())
    stack = deeplstm.Stack(*_cells(case))
    stack.load_state_dict({_in_stack(name): weight for name, weight in peer.state_dict().items()})
    by_torch_name = {name: stack.get_parameter(_in_stack(name)) for name, _ in peer.named_parameters()}
    return [
        Contestant("LSTM", PEER, peer, dict(peer.named_parameters())),
        Contestant("LSTM", "deeplstm.LSTM", ours, dict(ours.named_parameters())),
        Contestant("LSTM", "deeplstm.Stack", stack, by_torch_name),
        Contestant("LSTM", "plain loop", _on("reference", stack), by_torch_name),
    ]


def deepened(cell: str, case: Case, compiled: bool, **options: Any) -> list[Contestant]:
    """A cell that torch has no kernel for: the plain loop and, where asked for, the loop over a compiled step."""
    stack = deeplstm.Stack(*_cells(case, **options))
    field = [Contestant(cell, "plain loop", _on("reference", stack), dict(stack.named_parameters()))]
    if compiled:
        cells = _cells(case, **options)
        twin = deeplstm.Stack(*cells)
        twin.load_state_dict(stack.state_dict())
        for step in cells:
            # the step, not the loop: torch.compile unrolls a loop, and 100 steps take it minutes
            step.compile(fullgraph=True, dynamic=False)
        field.append(Contestant(cell, "compiled step", _on("reference", twin), dict(twin.named_parameters())))
    return field


def _cells(case: Case, **options: Any) -> list[deeplstm.LSTMCell]:
    cells = [deeplstm.LSTMCell(case.H, case.H, **options) for _ in range(case.L)]
    for name, parameter in (named for cell in cells for named in cell.named_parameters()):
        if name.startswith("norm_") and name.endswith("weight"):
            # Cooijmans et al. 2017. At 1 the gradient grows so over 100 steps that rounding alone moves it by percents,
            # and nothing could be checked.
            nn.init.constant_(parameter, 0.1)
    return cells


def why_not_compiled() -> str | None:
    """Why torch.compile does not work here; None where it does."""
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.zeros(2))
    except (
        Exception
    ) as error:  # whatever keeps it from working (a missing compiler, for one), the others are still timed
        return f"torch.compile: {str(error).strip().splitlines()[0]}"
    return None


def _in_stack(name: str) -> str:
    """weight_ih_l1 of torch.nn.LSTM is layers.1.cell.weight_ih of a Stack of cells."""
    weight, layer = name.rsplit("_l", 1)
    return f"layers.{layer}.cell.{weight}"


def _on(backend: str, module: nn.Module) -> Callable[[Tensor], tuple[Tensor, Any]]:
    def run(x: Tensor) -> tuple[Tensor, Any]:
        with deeplstm.backend(backend):
            y, state = module(x)
        return y, state

    return run
