"""One time step of a model: what each layer does between reading one x and giving one y.

This is the definition that a stream is held to, plain PyTorch on (B, ...) tensors; `kernel.py` compiles it, and where it cannot
be compiled it runs as it stands.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..nn._drop_in import DropIn, _order
from ..nn.readout import Readout
from ..nn.recurrent import Recurrent, initial_state
from ..nn.regularize import VariationalDropout
from ..nn.stack import Stack
from ..recurrence.call import is_cell, name_of
from ..recurrence.state import tensors_of
from .watch import hooks_of


class OneStep(nn.Module):
    """A model as a function of one x and of its states, in evaluation mode, sharing the model's tensors.

    Args:
        model: a layer that runs forward in time, or a stack of such.

    Shapes of a call: x (B, I), or (B,) for whole numbers; states a tuple of tensors (B, n), one for each of `parts`.
        Returns y (B, O) and the new states.
    """

    def __init__(self, model: nn.Module, *, after_embedding: bool = False) -> None:
        super().__init__()
        self.model = _copy(model).eval()
        self.after_embedding = after_embedding

    def forward(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        given = iter(states)
        y, new = _advance(self.model, x, given, self.after_embedding)
        return y, tuple(new)


def _copy(model: nn.Module) -> nn.Module:
    """The model with modules of its own and the same parameters and buffers.

    Tensors that were computed from these and kept (a pruned weight, what a cell noted of its last call) cannot be copied: those
    who keep them compute them anew.
    """
    memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        for tensor in _within(module.__dict__):
            if not tensor.is_leaf:
                memo.setdefault(id(tensor), tensor.detach())
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise TypeError(
            f"Stream runs a copy of {type(model).__name__} that shares its parameters and buffers, but it cannot be copied: "
            f"{error}. Keep what cannot be copied outside of its modules."
        ) from error


def _within(value: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _within(part)


def leading_embedding(model: nn.Module) -> nn.Embedding | None:
    """The table that a model looks whole numbers up in before anything else."""
    while isinstance(model, Stack):
        model = model.layers[0]
    return model if isinstance(model, nn.Embedding) else None


def _advance(
    layer: nn.Module, x: Tensor, states: Iterator[Tensor], after_embedding: bool
) -> tuple[Tensor, list[Tensor]]:
    if isinstance(layer, Stack):
        return _stack(layer, x, states, after_embedding)
    if isinstance(layer, DropIn):
        return _drop_in(layer, x, states)
    cell = layer.cell if isinstance(layer, Recurrent) else layer
    if is_cell(cell):
        noise: tuple[Any, ...] = ({},) if hasattr(cell, "draw_noise") else ()
        size: Any = cell.state_size
        parts = tuple(next(states) for _ in widths(size))
        y, new = cell(x, parts if isinstance(size, tuple) else parts[0], *noise)
        return y, tensors_of(new)
    if after_embedding and isinstance(layer, nn.Embedding):
        return x, []
    return (x if isinstance(layer, VariationalDropout) else layer(x)), []


def _stack(stack: Stack, x: Tensor, states: Iterator[Tensor], after_embedding: bool) -> tuple[Tensor, list[Tensor]]:
    is_read_again = x.is_floating_point() and not (after_embedding and isinstance(stack.layers[0], nn.Embedding))
    seen, new = [x] if is_read_again else [], []
    y = x
    for n, layer in enumerate(stack.layers):
        read = torch.cat(seen, dim=-1) if stack.skip == "dense" and len(seen) > 1 else x
        y, changed = _advance(layer, read, states, after_embedding and n == 0)
        new += changed
        y = stack._link(n, read, y)
        if not isinstance(layer, Readout):
            x = y
            seen.append(y)
    return y, new


def _drop_in(layer: DropIn, x: Tensor, states: Iterator[Tensor]) -> tuple[Tensor, list[Tensor]]:
    new: list[Tensor] = []
    for n in range(layer.num_layers):
        cell = layer._cells[x.shape[-1]].eval()
        params = dict(zip(_order(cell), layer._all_weights_of(n, 0), strict=True))
        parts = tuple(next(states) for _ in widths(cell.state_size))
        state = parts if isinstance(cell.state_size, tuple) else parts[0]
        x, after = torch.func.functional_call(cell, params, (x, state, {}))
        new += tensors_of(after)
    return x, new


def widths(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,)


# ---------------------------------------------------------------- the state as the model's forward has it


class Form:
    """How a model's states are nested and named.

    Attributes:
        names: of each state tensor, where it is and of which cell: "layers.1.LSTMCell(norm=True) state 0".
        widths: of each.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names: list[str] = []
        self.widths: list[int] = []
        self._nest = self._of(model, "")

    def _of(self, layer: nn.Module, path: str) -> Any:
        """A nest of ("cell", is tuple, indices), ("layers", is tuple, (indices of layer 0, ...)) or tuples of such."""
        if isinstance(layer, Stack):
            nested = (self._of(part, f"{path}layers.{n}.") for n, part in enumerate(layer.layers))
            return tuple(part for part in nested if part is not None)
        if isinstance(layer, DropIn):
            size: Any = layer._cells[layer.input_size].state_size
            one = widths(size)
            name = f"{path}{type(layer).__name__}{_options(layer._cells[layer.input_size])} layer"
            rows = [self._added(one, f"{name} {n}") for n in range(layer.num_layers)]
            return _Leaf(isinstance(size, tuple), rows, True)
        cell = layer.cell if isinstance(layer, Recurrent) else layer
        if is_cell(cell):
            size = cell.state_size
            name = f"{path}{name_of(cell)}{_options(cell)}"
            return _Leaf(isinstance(size, tuple), [self._added(widths(size), name)], False)
        return None

    def _added(self, sizes: tuple[int, ...], name: str) -> list[int]:
        first = len(self.widths)
        self.widths += sizes
        self.names += [f"{name} state {n}" for n in range(len(sizes))]
        return list(range(first, len(self.widths)))

    def nested(self, tensors: list[Tensor]) -> Any:
        """Tensors (B, n), in order, as the model's forward returns them."""
        return _nested(self._nest, tensors)

    def flat(self, state: Any) -> list[Tensor]:
        """A state as the model's forward returns it, as tensors (B, n) in order. It must have been checked."""
        found: dict[int, Tensor] = {}
        _flatten(self._nest, state, found)
        return [found[n] for n in range(len(self.widths))]


def _options(cell: nn.Module) -> str:
    """The options that a cell's equations in evaluation mode depend on, where they are not the defaults."""
    options = getattr(cell, "changed_options", {}).items()
    named = [f"{name}={value!r}" for name, value in options if name not in ("recurrent_dropout", "weight_drop")]
    return f"({', '.join(named)})" if named else ""


class _Leaf:
    """The state of one layer: ``rows[l][p]`` is the number of part p of its l-th layer; stacked where it is a drop-in."""

    def __init__(self, is_tuple: bool, rows: list[list[int]], is_stacked: bool) -> None:
        self.is_tuple, self.rows, self.is_stacked = is_tuple, rows, is_stacked


def _nested(nest: Any, tensors: list[Tensor]) -> Any:
    if not isinstance(nest, _Leaf):
        return tuple(_nested(part, tensors) for part in nest)
    parts = [
        torch.stack([tensors[n] for n in numbers]) if nest.is_stacked else tensors[numbers[0]]
        for numbers in zip(*nest.rows, strict=True)
    ]
    return tuple(parts) if nest.is_tuple else parts[0]


def _flatten(nest: Any, state: Any, found: dict[int, Tensor]) -> None:
    if not isinstance(nest, _Leaf):
        for part, given in zip(nest, state, strict=True):
            _flatten(part, given, found)
        return
    given = state if nest.is_tuple else (state,)
    for numbers, tensor in zip(zip(*nest.rows, strict=True), given, strict=True):
        for layer, n in enumerate(numbers):
            found[n] = tensor[layer] if nest.is_stacked else tensor


def initial(model: nn.Module, form: Form, batch: int, like: Tensor) -> list[Tensor]:
    """What each state tensor is before the first step: a cell's own ``initial_state``, else zeros. (batch, n) each.

    They have memory of their own, so that a stream may write to them: an ``initial_state`` may be a view of a parameter.
    """
    found: list[Tensor] = []

    def visit(layer: nn.Module) -> None:
        if isinstance(layer, Stack):
            for part in layer.layers:
                visit(part)
        elif isinstance(layer, DropIn):
            sizes = widths(layer._cells[layer.input_size].state_size)
            found.extend(like.new_zeros(batch, size) for _ in range(layer.num_layers) for size in sizes)
        else:
            cell = layer.cell if isinstance(layer, Recurrent) else layer
            if is_cell(cell):
                found.extend(tensors_of(initial_state(cell, like.new_empty(1, batch, 1))))

    with torch.no_grad():
        visit(model)
    return [tensor.detach().clone() for tensor in found]


# ---------------------------------------------------------------- what cannot be streamed


REPLACED = (Stack, DropIn, Recurrent, VariationalDropout)
"""What runs over time: steps take the place of its forward, so that must be the one that is known here."""


def check(model: nn.Module) -> None:
    """Raise for a model that cannot be taken one step at a time, with every reason."""
    found: list[str] = []

    def visit(layer: nn.Module, path: str) -> None:
        where = path.rstrip(".") or type(layer).__name__
        base = next((base for base in REPLACED if isinstance(layer, base)), None)
        if base is not None and getattr(layer.forward, "__func__", None) is not base.forward:
            found.append(f"{where} has a forward of its own, which steps would leave out: make what it adds a layer")
        if base is not None and any(hooks_of(layer)):
            found.append(f"{where} has forward hooks, which steps would leave out: remove them")
        if isinstance(layer, Stack):
            for n, part in enumerate(layer.layers):
                visit(part, f"{path}layers.{n}.")
        elif getattr(layer, "bidirectional", False):
            found.append(f"{where} is bidirectional: its output at a step needs the steps that are still to come")
        elif isinstance(layer, Recurrent) and layer.reverse:
            found.append(f"{where} runs from the last step to the first, which is still to come")

    visit(model, "")
    if found:
        raise ValueError(
            f"Stream cannot take {type(model).__name__} one step at a time: {'; '.join(found)}. Run it on whole sequences."
        )
