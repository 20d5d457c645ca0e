"""The one door to every recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..cells._cell import is_autocast
from . import dispatch, traced, tracing
from .call import (
    Call,
    Step,
    checked_lengths,
    is_cell,
    name_of,
    noise_complaints,
    params_complaints,
    resets_complaints,
    state_complaints,
    state_dtype_complaints,
    state_shapes,
)
from .state import map_state, shapes_of

Memory = Literal["save", "recompute"]


def scan(
    step: Step,
    params: dict[str, Tensor] | None,
    x: Tensor,
    state: Any,
    *,
    noise: dict[str, Tensor] | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    resets: Tensor | None = None,
    initial: Any = None,
    reverse: bool = False,
    trace: Sequence[str] | None = None,
    memory: Memory = "save",
    backend: str | None = None,
) -> Any:
    """Run one step function over time: (y_t, state_t) = step(x_t, state_(t-1)).

    Args:
        step: a cell (``nn.Module``), called as ``cell(x_t, state)``, or a function ``step(params, x_t, state)``; either
            returns ``(output, new_state)``, with the new state shaped as the old one.
        params: for a function, what it gets; for a cell, tensors in the place of its parameters, None for its own.
        x: the input of every step.
        state: a tensor or a tuple of tensors; what the first step reads.
        noise: masks by name, handed to the step as one more argument; a leading dimension of 1 stands for every step.
        lengths: steps that each row really has, from 0 to T, in any order. y is zero beyond them, the state stays, and
            what x holds there changes nothing.
        resets: where true, the row's state is set to ``initial`` before that step.
        initial: what a reset sets, shaped as the state; None: zeros.
        reverse: from the last step to the first; y keeps its place.
        trace: names of values that the cell marks (`deeplstm.mark`); the built-in cells mark their gates and states.
        memory: what backends that have the choice keep for the backward: "save", what it reads; "recompute", little more
            than the states, for one more product of all steps.
        backend: a name, or None for what `deeplstm.backend` says, else the first that can.

    Shapes: x (T, B, ...); state (B, ...) each; noise (T or 1, B, ...); lengths (B,); resets (T, B) bool.
        Returns y (T, B, O) and the state after each row's last step, as the state given; with ``trace`` also a dict of
        (T, B, n), zero beyond the lengths, by name.
    Raises: ValueError that lists every mismatch; `BackendUnavailable` where the backend asked for cannot run it.

    >>> import torch, deeplstm
    >>> def leaky(params, x, state):
    ...     new = params["a"] * state + x
    ...     return new, new
    >>> y, state = deeplstm.scan(leaky, {"a": torch.tensor(0.5)}, torch.ones(3, 1, 1), torch.zeros(1, 1))
    >>> y.flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    if not isinstance(x, Tensor) or x.dim() < 2:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"scan got x of shape {shape}, but (T, B, ...) is expected: time, batch, and what a step reads."
        )
    T, B = x.shape[:2]
    given_lengths, complaints = checked_lengths(lengths, T, B, x.device)
    complaints += resets_complaints(resets, T, B)
    if isinstance(step, nn.Module) and is_cell(step):
        complaints += state_complaints(state, state_shapes(step, B), x) or _dtype_complaints(step, x, state)
    elif any(not isinstance(s, tuple) or s[:1] != (B,) for s in _flat(shapes_of(state))):
        complaints.append(f"state has shapes {shapes_of(state)}, tensors with B={B} rows are expected")
    if isinstance(step, nn.Module) and params is not None:
        complaints += params_complaints(step, params)
    if initial is not None:
        complaints += state_complaints(initial, shapes_of(state), x, "initial")
    complaints += noise_complaints(noise, T, B)
    if memory not in ("save", "recompute"):
        complaints.append(f"memory={memory!r} is given, 'save' or 'recompute' is expected")
    if isinstance(trace, str):
        complaints.append(f"trace={trace!r} is given, a list of names is expected")
    if complaints:
        raise ValueError(f"scan over {name_of(step)}, x of shape {tuple(x.shape)}: {'; '.join(complaints)}.")
    state = as_tuples(state)
    if resets is not None and initial is None:
        initial = map_state(torch.zeros_like, state)
    names = tuple(trace or ())
    call = Call(step, params, x, state, initial, noise, given_lengths, resets, reverse, names, memory)
    y, final, traces = run(call, backend)
    return (y, final) if trace is None else (y, final, traces)


def run(call: Call, backend: str | None = None) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """`scan` of a call that has been checked: y, the final state, traces."""
    if torch.compiler.is_compiling():
        return traced.run(call, backend)
    if tracing.is_tracing():
        return tracing.traced(call, backend)
    result: tuple[Tensor, Any, dict[str, Tensor]] = dispatch.choose(call, backend).run(call)
    return result


def scan_packed(
    step: nn.Module,
    params: dict[str, Tensor] | None,
    data: Tensor,
    batch_sizes: Tensor,
    state: Any,
    *,
    noise: dict[str, Tensor] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any] | None:
    """`scan` over rows as torch packs them, without padding them. The caller has checked what it gives.

    Shapes: data (rows, I), batch_sizes (T,), state (B, ...) in the order of the packed rows -> y (rows, O), the state after
        each row's last step, in the same order; None where only padded sequences can be run.
    """
    if torch.compiler.is_compiling() or tracing.is_tracing():
        return None
    call = Call(step, params, data, state, None, noise, None, None, reverse, batch_sizes=batch_sizes)
    kernels = dispatch.kernels_for(call)
    if kernels is None:
        return None
    y, final, _ = kernels.run(call)
    return y, final


def _dtype_complaints(cell: nn.Module, x: Tensor, state: Any) -> list[str]:
    """What is wrong with a state's dtype; a cell that does not say what it reads may convert it, or look numbers up."""
    if getattr(cell, "input_size", None) is None or not x.is_floating_point() or is_autocast(x.device.type):
        return []
    return state_dtype_complaints(state, x.dtype)


def as_tuples(state: Any) -> Any:
    """A state whose lists are tuples."""
    return tuple(map(as_tuples, state)) if isinstance(state, tuple | list) else state


def _flat(shapes: Any) -> list[Any]:
    """The shapes in a nest of shapes: tuples of numbers, or names of wrong types."""
    if isinstance(shapes, tuple) and shapes and not isinstance(shapes[0], int):
        return [s for part in shapes for s in _flat(part)]
    return [shapes]
