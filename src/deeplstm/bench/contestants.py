"""What is timed: the same recurrence, with the same weights, in the hands of different code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.bench.cases import Case
from deeplstm.bench.cells import GRU, LSTM, stack_of

PEER = "torch.nn.LSTM"
DROP_IN = "deeplstm.LSTM"
"""As a user gets it: it chooses among the backends by itself."""
OURS = "deeplstm, cpu"
"""The generated kernels, wherever another backend would be chosen too."""
RECOMPUTE = "deeplstm, recompute"
LOOP = "plain loop"
COMPILED = "compiled step"
JAX = "JAX scan"
ONNX = "ONNX Runtime"
MODES = ("inference", "training")

Outputs = list[Tensor]
"""y (T, B, H), then each part of the final state, (L, B, H)."""


@dataclass
class Contestant:
    """One way to run one kind of cell.

    Attributes:
        cell: the kind; contestants of a kind have the same weights and must agree.
        run: x (T, B, H) -> y and the final state.
        parameters: by the names that the first contestant of the kind gives them.
        module: what is put into training or evaluation mode; cells with noise are trained with it.
        modes: what it is timed in.
        output_size: width of y; None: that of x.
    """

    cell: str
    name: str
    run: Callable[[Tensor], Outputs]
    parameters: dict[str, Tensor]
    module: nn.Module
    modes: Sequence[str] = MODES
    output_size: int | None = None

    def inference(self, x: Tensor) -> Callable[[], Outputs]:
        """A call to time: forward alone, in evaluation mode."""
        self.module.eval()

        def call() -> Outputs:
            with torch.no_grad():
                return self.run(x)

        return call

    def training(self, x: Tensor, upstream: list[Tensor]) -> Callable[[], tuple[Outputs, list[Tensor]]]:
        """A call to time: forward and backward, with the gradient of the input, as a layer below would need it.

        Args:
            x: the input.
            upstream: gradients of y and of as many parts of the state as follow.
        """
        self.module.train()
        x = x.clone().requires_grad_()
        wanted = [x, *self.parameters.values()]

        def call() -> tuple[Outputs, list[Tensor]]:
            outputs = self.run(x)
            return outputs, list(torch.autograd.grad(outputs[: len(upstream)], wanted, upstream))

        return call


def contestants(
    cell: str, case: Case, *, compiled: bool = False, jax: bool = False, onnx: bool = False
) -> list[Contestant]:
    """Everything that can run a cell, the one that defines what is right first.

    Args:
        cell, case: which.
        compiled, jax, onnx: whether those take part that are not always there. Where cells other than the plain LSTM are run,
            those who compile take part in training alone, which is what is asked about there.
    """
    torch.manual_seed(0)
    field = plain(case) if cell == LSTM else other(cell, case, compiled)
    if jax:
        from deeplstm.bench.peers_jax import JaxContestant

        stack = next(one.module for one in field if one.name == OURS)
        assert isinstance(stack, deeplstm.Stack)
        names = {_in_stack(name) if cell == LSTM else name: name for name in field[0].parameters}
        field.append(JaxContestant.of(cell, JAX, stack, names))
        field[-1].modes = MODES if cell == LSTM else ("training",)
    if onnx and cell == LSTM:
        from deeplstm.bench.peers_onnx import lstm

        peer = field[0].module
        assert isinstance(peer, nn.LSTM)
        field.append(Contestant(cell, ONNX, lstm(peer), dict(peer.named_parameters()), peer, ("inference",)))
    return field


def plain(case: Case) -> list[Contestant]:
    """The LSTM that torch knows."""
    peer = nn.LSTM(case.H, case.H, case.L)
    drop_in = deeplstm.LSTM(case.H, case.H, case.L)
    drop_in.load_state_dict(peer.state_dict())
    cells, sparing = stack_of(LSTM, case), stack_of(LSTM, case, memory="recompute")
    for stack in (cells, sparing):
        stack.load_state_dict({_in_stack(name): weight for name, weight in peer.state_dict().items()})

    def by_torch_name(stack: nn.Module) -> dict[str, Tensor]:
        return {name: stack.get_parameter(_in_stack(name)) for name, _ in peer.named_parameters()}

    return [
        Contestant(LSTM, PEER, _whole(peer), dict(peer.named_parameters()), peer),
        Contestant(LSTM, DROP_IN, _whole(drop_in), dict(drop_in.named_parameters()), drop_in),
        Contestant(LSTM, LOOP, on("reference", cells), by_torch_name(cells), cells),
        Contestant(LSTM, OURS, on("cpu", cells), by_torch_name(cells), cells),
        Contestant(LSTM, RECOMPUTE, on("cpu", sparing), by_torch_name(sparing), sparing, ("training",)),
    ]


def other(cell: str, case: Case, compiled: bool) -> list[Contestant]:
    """The plain loop, where asked for the loop over a compiled step, torch's own where there is one, and ours."""
    stack = stack_of(cell, case)
    parameters: dict[str, Tensor] = dict(stack.named_parameters())
    field = [Contestant(cell, LOOP, on("reference", stack), parameters, stack)]
    if compiled:
        twin = stack_of(cell, case)
        twin.load_state_dict(stack.state_dict())
        for layer in twin.layers:
            # the step, not the loop: torch.compile unrolls a loop, and 100 steps take it minutes
            layer.get_submodule("cell").compile(fullgraph=True, dynamic=False)
        field.append(
            Contestant(cell, COMPILED, on("reference", twin), dict(twin.named_parameters()), twin, ("training",))
        )
    if cell == GRU:
        gru = nn.GRU(case.H, case.H, case.L)
        gru.load_state_dict({n: stack.get_parameter(_in_stack(n)) for n in gru.state_dict()})
        by_stack_name: dict[str, Tensor] = {n: gru.get_parameter(_in_torch(n)) for n in parameters}
        field.append(Contestant(cell, "torch.nn.GRU", _whole(gru), by_stack_name, gru))
    field.append(Contestant(cell, OURS, on("cpu", stack), parameters, stack))
    return field


def peer_of(cell: str, times: dict[str, float]) -> str | None:
    """The contestant that ours is compared with: torch's LSTM, or the better of what one has without us."""
    if cell == LSTM:
        return PEER if PEER in times else None
    return min((name for name in (LOOP, COMPILED) if name in times), key=times.__getitem__, default=None)


def why_not_compiled() -> str | None:
    """Why torch.compile does not work here; None where it does."""
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.zeros(2))
    except (
        Exception
    ) as error:  # whatever keeps it from working (a missing compiler, for one), the others are still timed
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
    return None


def on(backend: str, stack: nn.Module) -> Callable[[Tensor], Outputs]:
    """A stack on one backend."""

    def run(x: Tensor) -> Outputs:
        with deeplstm.backend(backend):
            y, state = stack(x)
        return [y, *by_part(state)]

    return run


def by_part(state: Any) -> list[Tensor]:
    """The state of a stack, an entry for each layer, as torch has it: (L, B, H) for each part."""
    layers = [entry if isinstance(entry, tuple) else (entry,) for entry in state]
    return [torch.stack(parts) for parts in zip(*layers, strict=True)]


def _whole(module: nn.Module) -> Callable[[Tensor], Outputs]:
    """torch.nn's layers and our drop-ins."""

    def run(x: Tensor) -> Outputs:
        y, state = module(x)
        return [y, *(state if isinstance(state, tuple) else (state,))]

    return run


def _in_stack(name: str) -> str:
    """weight_ih_l1 of torch.nn.LSTM is layers.1.cell.weight_ih of a Stack of cells."""
    weight, layer = name.rsplit("_l", 1)
    return f"layers.{layer}.cell.{weight}"


def _in_torch(name: str) -> str:
    _, layer, _, weight = name.split(".")
    return f"{weight}_l{layer}"
