"""Kernels generated for the host's processor by LLVM, from the program of any cell."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ....cells._cell import is_autocast
from ...call import Call, name_of
from ...garbage import no_collection
from ...program.rows import Unsupported
from ...state import tensors_of
from .. import torch_fused

SMALL, FEW_STEPS = 3e6, 50
"""Multiplications, and steps, below which torch's own kernels, where they know the cell, start faster than ours."""

LARGE_STEP, FEW_ROWS = 1e7, 32
"""Multiplications of one step from which on there is little else than products, and rows below which torch's are faster then:
each of our threads reads all weights for its own rows."""


@functools.cache
def _programs() -> ModuleType:
    """What captures and generates; imported with the first call."""
    with no_collection():
        from . import programs

    return programs


@functools.cache
def _autograd() -> ModuleType:
    with no_collection():
        from . import autograd

    return autograd


def why_not(call: Call) -> list[str]:
    """The reasons for which no kernel can be generated for a call."""
    try:
        known_of = _programs().known_of
    except ImportError as error:
        return [f"llvmlite, which makes machine code, cannot be imported: {error}"]

    cell, x = call.step, call.x
    if not isinstance(cell, nn.Module):
        return [f"kernels are generated for cells, and {name_of(cell)} is a function"]
    known = known_of(cell)
    weights = known.weights(call)
    states = tensors_of(call.state)
    shape, dtype, device = x.shape, x.dtype, x.device.type
    reasons = []
    if device != "cpu":
        reasons.append(f"the input is on {x.device}")
    if dtype not in _programs().ELEMENTS:
        reasons.append(f"the input is {dtype}, float32, float64 and bfloat16 have kernels")
        if device == "cpu":
            call.notes["no program"] = f"an input of {dtype}"
    elif any(t.dtype is not dtype for t in (*weights.values(), *states)):
        others = {str(t.dtype) for t in (*weights.values(), *states)} - {str(dtype)}
        reasons.append(f"the input is {dtype}, the weights or the state are {', '.join(sorted(others))}")
    if (
        len(shape) != (3 if call.batch_sizes is None else 2)
        or any(s.dim() != 2 for s in states)
        or _is_nested(call.state)
    ):
        reasons.append("the input is not (T, B, I), or a state is not (B, n) or a tuple of such")
    if 0 in shape or (call.lengths is not None and not bool(call.lengths.any())):
        reasons.append("there is no row with a step")
    reasons += why_not_here(device)
    if not reasons:
        try:
            call.notes["cpu"] = (known.programs(call, weights), weights)
        except Unsupported as reason:
            call.notes["no program"] = str(reason)
            reasons.append(f"programs lack {reason}")
    return reasons


def why_not_here(device: str) -> list[str]:
    """The reasons that lie in what surrounds a call."""
    reasons = []
    if is_autocast(device):
        reasons.append("autocast is on")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        reasons.append("kernels lack rules for torch.func's transforms")
    elif torch.autograd.forward_ad._current_level >= 0:
        reasons.append("kernels lack forward-mode derivatives")
    return reasons


def why_rather_not(call: Call) -> list[str]:
    """The reasons for which another backend is faster."""
    T, B = call.x.shape[:2]
    weights = call.notes["cpu"][1].values()
    tensors = (call.x, *weights, *tensors_of(call.state))
    is_padded = call.lengths is not None
    has_backward = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    reason = why_torch(T, B, sum(w.numel() for w in weights), is_padded or has_backward)
    return [reason] if reason and not torch_fused.is_slow(call) and not torch_fused.why_not(call) else []


def why_torch(steps: int, rows: float, weights: float, has_more: bool) -> str | None:
    """Why torch's kernel is faster for a cell that it knows, if it is.

    Args:
        steps: of the sequence.
        rows: of each step.
        weights: how many numbers they are.
        has_more: whether there is more to do than the plain forward: a backward, or lengths.
    """
    if steps < FEW_STEPS and steps * rows * weights < SMALL:
        return "torch's kernel is faster for so little work"
    if not has_more and rows < FEW_ROWS and rows * weights >= LARGE_STEP:
        return "torch's kernel is faster for such large products of few rows without a backward"
    return None


def run(call: Call) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call; see `scan`."""
    run = _autograd()
    programs, weights = call.notes["cpu"]
    states = tensors_of(call.state)
    if call.resets is not None:
        states = [*states, *tensors_of(call.initial)]
    wanted_weights: frozenset[str] = frozenset()
    wants_x = gradient = False
    if torch.is_grad_enabled():
        wanted_weights = frozenset(n for n, w in weights.items() if w.requires_grad)
        wants_x = call.x.requires_grad
        gradient = wants_x or bool(wanted_weights) or any(s.requires_grad for s in states)
    wanted = run.Wanted(
        gradient, wants_x, wanted_weights, memory=call.memory, trace=call.trace, resets=call.resets is not None
    )
    this = run.job(call, programs, tuple(weights), wanted)
    others = (*states, *weights.values())
    if gradient:
        y, *rest = run.Recurrence.apply(this, call.x, *others)
    else:
        (y, *rest), _ = run.forward(this, call.x, others)
    finals, traces = rest[: this.states], rest[this.states :]
    state = tuple(finals) if isinstance(call.state, tuple) else finals[0]
    return y, state, dict(zip(call.trace, traces, strict=True))


def _is_nested(state: Any) -> bool:
    return isinstance(state, tuple) and any(not isinstance(part, Tensor) for part in state)
