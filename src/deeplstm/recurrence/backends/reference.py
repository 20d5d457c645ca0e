"""The reference: the cell's own code in a loop. It defines what is right; every other backend is held to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...cells.mark import collecting, found_mark
from ..call import Call, check_result, functional
from ..lengths import mask
from ..state import map_state


def why_not(call: Call) -> list[str]:
    """It runs everything."""
    return []


def run(call: Call) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call; see `scan`."""
    step, params = call.step, call.params
    if isinstance(step, nn.Module):
        if params is None:
            return loop(step, call)
        # around the whole loop, since exchanging a module's parameters costs more than a step of a small cell
        swapped = {f"cell.{name}": value for name, value in params.items()}
        result: tuple[Tensor, Any, dict[str, Tensor]] = functional(_Loop(step), swapped, call)
        return result
    return loop(lambda *arguments: step(params, *arguments), call)


class _Loop(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, call: Call) -> tuple[Tensor, Any, dict[str, Tensor]]:
        return loop(self.cell, call)


def loop(step: Callable[..., tuple[Tensor, Any]], call: Call) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """The recurrence: h_t = step(x_t, h_(t-1)), with resets before a step and lengths after it."""
    x, state, T = call.x, call.state, call.x.shape[0]
    alive, resets = None, call.resets
    if call.lengths is not None:
        alive = mask(call.lengths, T)  # (T, B)
        # even NaN beyond a length must not reach a gradient, which a mask on the results alone would let through
        x = torch.where(_like(alive, x), x, torch.zeros((), dtype=x.dtype, device=x.device))
        resets = None if resets is None else resets & alive
    outputs: list[list[Tensor]] = []  # of each step: y, then what is traced
    for t in reversed(range(T)) if call.reverse else range(T):
        if resets is not None:
            state = _select(resets[t], call.initial, state)
        result, traced = _traced(step, x[t], state, call, _noise_at(call, t))
        if not outputs:
            check_result(call, result)
        y, new = result
        shown = [y, *traced]
        if alive is None:
            state = new
        else:
            shown = [torch.where(_like(alive[t], v), v, torch.zeros((), dtype=v.dtype, device=v.device)) for v in shown]
            state = _select(alive[t], new, state)
        outputs.append(shown)
    if not outputs:
        shown = _no_outputs(step, call)
    else:
        shown = [torch.stack(values[::-1] if call.reverse else values) for values in zip(*outputs, strict=True)]
    return shown[0], state, dict(zip(call.trace, shown[1:], strict=True))


def _traced(
    step: Callable[..., tuple[Tensor, Any]], x: Tensor, state: Any, call: Call, noise: tuple[Any, ...]
) -> tuple[tuple[Tensor, Any], list[Tensor]]:
    """One step, and the values that it marks with names that are traced."""
    if not call.trace:
        return step(x, state, *noise), []
    with collecting() as marks:
        result = step(x, state, *noise)
    return result, [found_mark(marks, name) for name in call.trace]


def _noise_at(call: Call, t: int) -> tuple[()] | tuple[dict[str, Tensor]]:
    if call.noise is None:
        return ()
    return ({name: m[t if m.shape[0] > 1 else 0] for name, m in call.noise.items()},)


def _like(rows: Tensor, value: Tensor) -> Tensor:
    """A mask of rows with as many dimensions as the value."""
    return rows.reshape(rows.shape + (1,) * (value.dim() - rows.dim()))


def _select(rows: Tensor, yes: Any, no: Any) -> Any:
    return map_state(lambda a, b: torch.where(_like(rows, a), a, b), yes, no)


@torch.no_grad()
def _no_outputs(step: Callable[..., tuple[Tensor, Any]], call: Call) -> list[Tensor]:
    """For T = 0: tensors without steps, as wide as one step's output and traces."""
    x = call.x.new_zeros(call.x.shape[1:])
    noise = () if call.noise is None else ({n: m.new_zeros(m.shape[1:]) for n, m in call.noise.items()},)
    (y, _), traced = _traced(step, x, call.state, call, noise)
    return [v.new_zeros(0, *v.shape) for v in (y, *traced)]
