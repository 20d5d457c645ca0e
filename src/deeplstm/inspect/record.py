"""One pass of a model, with every recurrence that runs in it written down."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.mark import collecting
from ..nn._drop_in import DropIn
from ..nn._undisturbed import undisturbed
from ..nn.recurrent import Recurrent
from ..recurrence.lengths import mask
from ..recurrence.state import map_state, tensors_of
from ..recurrence.tracing import Run, is_tracing, only_watches, tracing, unheard, unmarked
from .layers import Layer, layers_of


@dataclass
class Sequence:
    """What one layer did from a start to an end: one run, or several of which each went on where the last one stopped."""

    layer: Layer
    name: str
    runs: list[Run]

    @property
    def reverse(self) -> bool:
        return self.layer.reverse

    @property
    def steps(self) -> int:
        return sum(len(run.y) for run in self.runs)

    @property
    def rows(self) -> int:
        return self.runs[0].y.shape[1]

    def values(self) -> dict[str, Tensor]:
        """Shapes: {name: (T, B, n)}."""
        return {name: _joined([run.values[name] for run in self.runs]) for name in self.runs[0].values}

    def y(self) -> Tensor:
        """Shapes: (T, B, O)."""
        return _joined([run.y for run in self.runs])

    def inside(self) -> Tensor | None:
        """Which steps lie inside their row's length, (T, B); None where all do."""
        if all(run.lengths is None for run in self.runs):
            return None
        masks = []
        for run in self.runs:
            T, B = run.y.shape[:2]
            given = run.lengths if run.lengths is not None else torch.full((B,), T, device=run.y.device)
            masks.append(mask(given, T))
        return _joined(masks)

    def takes(self, run: Run) -> bool:
        """Whether a run goes on where this sequence stopped: from the same state, forwards in time."""
        last, given = self.runs[-1], tensors_of(run.state)
        final = tensors_of(last.final)
        return (
            not run.reverse
            and list(run.values) == list(last.values)
            and len(given) == len(final) > 0
            and all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(given, final, strict=True))
        )


@dataclass
class Recording:
    """What a model returned, and what its layers did, in the order in which the model holds them."""

    result: Any
    sequences: list[Sequence] = field(default_factory=list)


def record(
    model: nn.Module, *args: Any, only: Collection[str] | None = None, differentiable: bool = False, **kwargs: Any
) -> Recording:
    """Call a model once and write down what every recurrent layer in it does."""
    listener = _Listener(model, only, differentiable)
    with ExitStack() as stack:
        stack.callback(listener.stop)
        stack.enter_context(undisturbed(model))
        stack.enter_context(tracing(listener.hear, only, differentiable))
        if any(hasattr(module, "_orig_mod") for module in model.modules()):  # of torch.compile
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        result = model(*args, **kwargs)
    return Recording(result, listener.in_order())


class _Listener:
    """Knows which layer a run belongs to, from the modules that are running."""

    def __init__(self, model: nn.Module, only: Collection[str] | None, differentiable: bool) -> None:
        self.layers = layers_of(model)
        self.only, self.differentiable = only, differentiable
        self.found: dict[str, list[Sequence]] = {}
        self.running: list[_Frame] = []
        lone = {id(layer.module) for layer in self.layers if not isinstance(layer.module, DropIn | Recurrent)}
        self.handles = []
        for path, module in model.named_modules():
            enter, leave = self._hooks(path, id(module) in lone)
            self.handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            self.handles.append(module.register_forward_hook(leave, with_kwargs=True, always_call=True))

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()

    def hear(self, run: Run) -> None:
        frame = self.running[-1]
        self._keep(self._layer_of(run, frame), run)
        frame.count += 1

    def in_order(self) -> list[Sequence]:
        return [sequence for layer in self.layers for sequence in self.found.get(layer.name, [])]

    def _keep(self, layer: Layer, run: Run) -> None:
        sequences = self.found.setdefault(layer.name, [])
        if sequences and sequences[-1].takes(run):
            sequences[-1].runs.append(run)
        else:
            call = f", call {len(sequences) + 1}" if sequences else ""
            sequences.append(Sequence(layer, layer.name + call, [run]))

    def _layer_of(self, run: Run, frame: _Frame) -> Layer:
        is_layer = isinstance(frame.module, DropIn | Recurrent)
        for layer in self.layers:
            if layer.module is (frame.module if is_layer else run.step) and layer.index == frame.count * is_layer:
                return layer
        # a model's own call of `scan`: a layer that could not be seen before it ran
        own = [layer for layer in self.layers if layer.module is frame.module]
        for layer in own:
            last = self.found[layer.name][-1]
            if last.runs[-1].step is run.step and last.takes(run):
                return layer
        for layer in own:
            if layer.index == frame.count:
                return layer
        number = 1 + sum(not layer.name.endswith("reverse") for layer in self.layers)
        name = f"layer {number}" + (" reverse" if run.reverse else "")
        layer = Layer(name, frame.path, frame.module, frame.count, run.reverse)
        self.layers.append(layer)
        return layer

    def _hooks(self, path: str, is_lone_cell: bool) -> Any:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> Any:
            frame = _Frame(module, path)
            self.running.append(frame)
            if not is_lone_cell or not is_tracing():
                return None
            x, _ = _x_and_state(args, kwargs)
            frame.x = _as_rows(x)[None]
            if self.differentiable and x.is_floating_point():
                if not x.requires_grad:
                    frame.x = frame.x.detach().requires_grad_()
                # the cell reads it from there, so that there is a gradient with respect to it
                args, kwargs = _with_x(frame.x[0].view_as(x), args, kwargs)
            frame.open = ExitStack()
            frame.open.enter_context(unheard())
            frame.marks = frame.open.enter_context(collecting())
            return args, kwargs

        def leave(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            frame = self.running.pop()
            if frame.open is None:
                return
            frame.open.close()
            if result is not None:  # None: it raised
                layer = next(layer for layer in self.layers if layer.module is module)
                self._keep(layer, _one_step(frame, args, kwargs, result, self.only))

        return only_watches(enter), only_watches(leave)


@dataclass
class _Frame:
    """A module that is running: how many recurrences it ran so far; of a cell, what it reads, (1, B, I), and marks."""

    module: nn.Module
    path: str
    count: int = 0
    open: ExitStack | None = None
    x: Tensor | None = None
    marks: dict[str, Tensor] = field(default_factory=dict)


def _one_step(frame: _Frame, args: Any, kwargs: Any, result: Any, only: Collection[str] | None) -> Run:
    """A cell that a model calls itself, as a run of one step."""
    y, final = result
    _, state = _x_and_state(args, kwargs)
    named = {**frame.marks, **unmarked(frame.marks, result)}
    values = {name: _as_rows(value)[None] for name, value in named.items() if only is None or name in only}
    assert frame.x is not None
    state, final = map_state(_as_rows, state), map_state(_as_rows, final)
    return Run(frame.module, frame.x, _as_rows(y)[None], state, final, values, None, False)


def _as_rows(value: Tensor) -> Tensor:
    """As (B, n), of an unbatched step (1, n)."""
    return value[None] if value.dim() == 1 else value


def _x_and_state(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Any]:
    """The first two of a cell's arguments, by whatever names."""
    x, state = [*args, *kwargs.values(), None][:2]
    return x, state


def _with_x(x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with another first one."""
    return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, next(iter(kwargs)): x})


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
