"""A copy of the cell with random inputs, and the ways to run it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.recurrent import Recurrent
from ..recurrence import dispatch
from ..recurrence.call import state_shapes
from ..recurrence.state import map_state, tensors_of
from ._compare import Results, compare

SEED = 1


@dataclass(frozen=True)
class Subject:
    """A cell's copy, and what it is run on: x (T, B, I); a state as the cell's, random wherever it is real numbers."""

    cell: nn.Module
    x: Tensor
    state: Any

    @classmethod
    def drawn(cls, cell: nn.Module, input_size: int, T: int, B: int, dtype: torch.dtype) -> Subject:
        cell = copy.deepcopy(cell).to(dtype)
        weight = next((p for p in cell.parameters()), torch.empty(0))
        draw = torch.Generator().manual_seed(SEED)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64).to(weight.device, dtype)

        x = random(T, B, input_size)
        if hasattr(cell, "initial_state"):  # some of its parts may be whole numbers, which stay as they begin
            start = cell.initial_state(B)  # type: ignore[operator]
            return cls(cell, x, map_state(lambda s: random(*s.shape) if s.is_floating_point() else s, start))
        shapes = state_shapes(cell, B)
        is_tuple = isinstance(cell.state_size, tuple)
        return cls(cell, x, tuple(random(*s) for s in shapes) if is_tuple else random(*shapes))

    def step(self, rows: Any = slice(None), seed: int = SEED) -> Results:
        """One step, of some of the rows."""
        torch.manual_seed(seed)
        with torch.no_grad():
            output, new = self.cell(self.x[0, rows].clone(), map_state(lambda s: s[rows].clone(), self.state))
        return {"output": output, **named("new state", new)}

    def draws_noise(self) -> bool:
        """Whether a step depends on torch's random generator."""
        return bool(compare(self.step(seed=SEED + 1), self.step()).problem)

    def quiet(self) -> Subject | None:
        """A subject that draws no noise: itself, or in evaluation mode, or none."""
        if not self.draws_noise():
            return self
        evaluated = Subject(copy.deepcopy(self.cell).eval(), self.x, self.state)
        return None if evaluated.draws_noise() else evaluated

    def wide(self) -> Subject | None:
        """The same in float64, to tell rounding from mistakes; none where that would draw other noise."""
        if self.x.dtype == torch.float64 or self.draws_noise():
            return None
        state = map_state(lambda s: s.double() if s.is_floating_point() else s, self.state)
        return Subject(copy.deepcopy(self.cell).double(), self.x.double(), state)

    def run(
        self, backend: str, *, second: bool = False, cut: int | None = None, reverse: bool = False, **sequence: Any
    ) -> Results:
        """A sequence and its gradients, or with ``second`` its second derivatives; with ``cut`` in two chunks.

        Everything a backend gives stands in one dict, name -> tensor, and is compared under its name; whatever else a run
        comes to give, traces for one, is one more entry.
        """
        torch.manual_seed(SEED)
        layer = Recurrent(self.cell, reverse=reverse)
        x = self.x.clone().requires_grad_()
        state = map_state(lambda s: s.clone().requires_grad_(s.is_floating_point()), self.state)
        with dispatch.backend(backend):
            if cut is None:
                y, final = layer(x, state, **sequence)
            else:
                first, between = layer(x[:cut], state)
                rest, final = layer(x[cut:], between)
                y = torch.cat([first, rest])
            results = {"output": y, **named("final state", final)}
            parameters = {f"parameter {name}": p for name, p in self.cell.named_parameters()}
            inputs = {"x": x, **named("initial state", state), **parameters}
            inputs = {name: tensor for name, tensor in inputs.items() if tensor.requires_grad}
            slopes = gradients(results, inputs, create_graph=second)
            if second:
                squares = {name: slope.square().sum() for name, slope in slopes.items()}
                return {f"second derivative by {name}": g for name, g in gradients(squares, inputs).items()}
        results |= {f"gradient of {name}": slope for name, slope in slopes.items()}
        return {name: result.detach() for name, result in results.items()}


def named(what: str, state: Any) -> Results:
    """Every part of a state under a name."""
    if isinstance(state, Tensor):
        return {what: state}
    return {f"{what}[{n}]": part for n, part in enumerate(tensors_of(state))}


def gradients(results: Results, inputs: Results, create_graph: bool = False) -> Results:
    """The gradient of every input, with a random upstream gradient on every result; zeros where there is no path."""
    draw = torch.Generator().manual_seed(SEED)
    outputs = [r for r in results.values() if r.requires_grad]
    if not outputs:
        return {name: torch.zeros_like(tensor) for name, tensor in inputs.items()}
    upstream = [torch.randn(r.shape, generator=draw, dtype=torch.float64).to(r) for r in outputs]
    found = torch.autograd.grad(
        outputs, list(inputs.values()), upstream, create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(inputs, found, strict=True))
