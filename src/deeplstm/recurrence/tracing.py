"""Runs of `scan` that show what they compute: whoever asks gets every recurrence that runs inside a model, by name.

`scan` looks here before it runs a call. While somebody listens it asks the backend for every value that the step marks, and
for its output and states where they are not among those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.mark import collecting, mark
from . import dispatch
from .call import Call, Step, functional, name_of
from .state import tensors_of


@dataclass(frozen=True)
class Run:
    """One recurrence that ran. Shapes: x (T, B, ...), y (T, B, O), values (T, B, n) each, state and final (B, n) each."""

    step: Step
    x: Tensor
    y: Tensor
    state: Any
    final: Any
    values: dict[str, Tensor]
    lengths: Tensor | None
    reverse: bool


Listener = Callable[[Run], None]


@dataclass(frozen=True)
class _Tracing:
    listener: Listener
    only: Collection[str] | None
    differentiable: bool
    leaves: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def with_gradient(self, x: Tensor) -> Tensor:
        """An input that has a gradient: the same tensor for the same input, so that both directions of a layer share it."""
        if not self.differentiable or x.requires_grad or not x.is_floating_point():
            return x
        given, leaf = self.leaves.get(id(x), (None, x))
        if given is not x:
            leaf = x.detach().requires_grad_()
            self.leaves[id(x)] = x, leaf  # x stays alive, so that its id is its own
        return leaf


def only_watches(hook: Any) -> Any:
    """Mark a module's hook that changes nothing and misses nothing where a step is not called: kernels may run such a cell."""
    hook.only_watches = True
    return hook


_tracing: ContextVar[_Tracing | None] = ContextVar("deeplstm_tracing", default=None)


@contextmanager
def tracing(listener: Listener, only: Collection[str] | None = None, differentiable: bool = False) -> Iterator[None]:
    """Tell ``listener`` of every recurrence that runs inside.

    Args:
        only: names of the values wanted, those that a step lacks are left out; None: all of them.
        differentiable: whether the input of every run must have a gradient.
    """
    token = _tracing.set(_Tracing(listener, only, differentiable))
    try:
        yield
    finally:
        _tracing.reset(token)


def is_tracing() -> bool:
    """Whether somebody listens."""
    # torch.compile does not know context variables
    return not torch.compiler.is_compiling() and _tracing.get() is not None


@contextmanager
def unheard() -> Iterator[None]:
    """Nobody listens inside: what a step does is part of its run."""
    token = _tracing.set(None)
    try:
        yield
    finally:
        _tracing.reset(token)


def traced(call: Call, backend: str | None) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call and tell who listens; what comes back is what the call alone would give."""
    asked = _tracing.get()
    assert asked is not None
    with unheard():
        call = replace(call, x=asked.with_gradient(call.x))
        marks, result = _first_step(call)
        extra = unmarked(marks, result)
        names = [n for n in (*marks, *extra) if asked.only is None or n in asked.only]
        everything = tuple(dict.fromkeys((*call.trace, *names)))
        shown = replace(call, trace=everything, notes={})
        if any(name in extra for name in names):
            shown = _marking(shown)
        y, final, traces = dispatch.choose(shown, backend).run(shown)
    values = {name: traces[name] for name in names}
    asked.listener(Run(call.step, call.x, y, call.state, final, values, call.lengths, call.reverse))
    return y, final, {name: traces[name] for name in call.trace}


def unmarked(marks: dict[str, Tensor], result: tuple[Tensor, Any]) -> dict[str, Tensor]:
    """What a step gives without having marked it, by a name.

    The output is "h" ("y" where another value is so called), the state "state", or "state 0", "state 1", ...; a part that is
    the output, or marked, has a name already.
    """
    y, new = result
    named = list(marks.values())
    found: dict[str, Tensor] = {}
    if not _holds(named, y):
        found["y" if "h" in marks else "h"] = y
    parts = tensors_of(new)
    for n, part in enumerate(parts):
        if not _holds([*named, *found.values()], part):
            found["state" if len(parts) == 1 else f"state {n}"] = part
    return {name: value for name, value in found.items() if name not in marks}


def _holds(tensors: list[Tensor], tensor: Tensor) -> bool:
    return any(tensor is other for other in tensors)


@torch.no_grad()
def _first_step(call: Call) -> tuple[dict[str, Tensor], tuple[Tensor, Any]]:
    """What one step marks, and what it gives: run once, to learn the names."""
    x = call.x[0] if len(call.x) else call.x.new_zeros(call.x.shape[1:])
    noise: tuple[Any, ...] = ()
    if call.noise is not None:
        noise = ({n: m[0] if len(m) else m.new_zeros(m.shape[1:]) for n, m in call.noise.items()},)
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices=devices), collecting() as marks:
        result = _call(call.step, call.params, x, call.state, *noise)
    return marks, result


def _call(step: Step, params: dict[str, Tensor] | None, *arguments: Any) -> tuple[Tensor, Any]:
    if not isinstance(step, nn.Module):
        return step(params, *arguments)
    if params is None:
        return step(*arguments)
    result: tuple[Tensor, Any] = functional(step, params, *arguments)
    return result


def _marking(call: Call) -> Call:
    """The same call of a step that marks its output and states too."""
    step = call.step
    if not isinstance(step, nn.Module):

        def marking(*arguments: Any) -> tuple[Tensor, Any]:
            return _marked(lambda: step(*arguments))

        return replace(call, step=marking)
    # messages name the type of a step
    kind = type(name_of(step), (_Marking,), {})
    params = None if call.params is None else {f"cell.{name}": value for name, value in call.params.items()}
    return replace(call, step=kind(step).train(step.training), params=params)


class _Marking(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.state_size = cell.state_size

    def forward(self, *arguments: Any) -> tuple[Tensor, Any]:
        return _marked(lambda: self.cell(*arguments))


def _marked(step: Callable[[], tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
    with collecting() as inner:
        result = step()
    for name, value in (*inner.items(), *unmarked(inner, result).items()):
        mark(value, name)
    return result
