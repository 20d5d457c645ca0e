"""A cell over time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..cells._cell import is_autocast
from ..recurrence.call import (
    Call,
    checked_lengths,
    is_cell,
    noise_complaints,
    resets_complaints,
    state_complaints,
    state_dtype_complaints,
    state_shapes,
)
from ..recurrence.scan import Memory, as_tuples, run

_CPU = torch.device("cpu")


class Recurrent(nn.Module):
    """Run a cell over time, in one or both directions.

    A cell is any ``nn.Module`` with ``state_size``, an int or a tuple of ints, whose ``forward(x, state)`` returns
    ``(output, new_state)`` for one step; the state is one tensor (B, state_size) or a tuple of such. It may have
    ``initial_state(batch_size)``, which gives the state to start from, and to which a reset returns; else that is zeros. A
    cell that also says ``input_size`` and ``output_size`` has its input checked and can be linked in a `Stack`.

    Args:
        cell: the cell. With ``bidirectional`` a copy with its own freshly drawn parameters (every submodule that has
            ``reset_parameters`` redraws; others start as copies) runs from the end to the start.
        batch_first: whether x and y are (B, T, ...) instead of (T, B, ...). States never are.
        bidirectional: both directions; y holds the outputs side by side, the state is the pair (forward, backward).
        reverse: the one direction is from the last step to the first.
        memory: "save" or "recompute", what a compiled cell keeps for the backward; see `scan`.

    Shapes of a call: x (T, B, I); state as the cell's, each (B, size), None for the initial one; lengths (B,), in any
        order, zero allowed; resets (T, B) bool (batch_first: (B, T)). Returns (y, state): y (T, B, O), or (T, B, 2 O) with
        both directions, zero beyond a row's length; the state after each row's last step.
    Raises: TypeError for what is no cell or no tensor; ValueError that lists every mismatch of shape, dtype, device, state,
        lengths and resets.

    >>> import torch, deeplstm
    >>> layer = deeplstm.Recurrent(deeplstm.GRUCell(3, 4), bidirectional=True)
    >>> y, (forward, backward) = layer(torch.zeros(5, 2, 3), lengths=[5, 2])
    >>> y.shape
    torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        cell: nn.Module,
        batch_first: bool = False,
        bidirectional: bool = False,
        reverse: bool = False,
        memory: Memory = "save",
    ) -> None:
        super().__init__()
        if not is_cell(cell):
            raise TypeError(
                f"Recurrent got {type(cell).__name__}, but a cell is expected: an nn.Module with state_size (an int or a tuple "
                "of ints) whose forward(x, state) returns (output, new_state). Give the module a state_size."
            )
        if bidirectional and reverse:
            raise ValueError(
                "Recurrent got bidirectional=True and reverse=True; both directions include the reverse one. Leave one out."
            )
        self.cell = cell
        if memory not in ("save", "recompute"):
            raise ValueError(f"Recurrent got memory={memory!r}, but 'save' or 'recompute' is expected.")
        self.batch_first, self.bidirectional, self.reverse = batch_first, bidirectional, reverse
        self.memory: Memory = memory
        if bidirectional:
            self.cell_reverse = copy.deepcopy(cell)
            redraw(self.cell_reverse)

    @property
    def input_size(self) -> int | None:
        """I, where the cell says it."""
        return getattr(self.cell, "input_size", None)

    @property
    def output_size(self) -> int | None:
        """Width of y, where the cell says its own."""
        size = getattr(self.cell, "output_size", None)
        return None if size is None else size * (1 + self.bidirectional)

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"Recurrent got an input of type {type(x).__name__}, but a tensor (T, B, ...) is expected. "
                "For sequences of unequal length pass a padded tensor and lengths=."
            )
        if self.batch_first and x.dim() >= 2:
            x = x.transpose(0, 1)
            resets = resets.transpose(0, 1) if isinstance(resets, Tensor) and resets.dim() == 2 else resets
        self._check(x, state, lengths, resets)
        if self.bidirectional:
            states = (None, None) if state is None else state
            y, forward = self._run(self.cell, x, states[0], lengths, resets, reverse=False)
            y_reverse, backward = self._run(self.cell_reverse, x, states[1], lengths, resets, reverse=True)
            y, state = torch.cat([y, y_reverse], dim=-1), (forward, backward)
        else:
            y, state = self._run(self.cell, x, state, lengths, resets, reverse=self.reverse)
        return (y.transpose(0, 1) if self.batch_first else y), state

    def _run(
        self, cell: nn.Module, x: Tensor, state: Any, lengths: Any, resets: Any, reverse: bool
    ) -> tuple[Tensor, Any]:
        T, B = x.shape[:2]
        initial = initial_state(cell, x) if state is None or resets is not None else None
        noise = weights = None
        if hasattr(type(cell), "draw_noise"):  # a built-in cell; see cells/_cell.py
            noise, weights = cell.draw_noise(T, B, like=x), cell.draw_weights()  # type: ignore[operator]
        self._check_own(cell, x, initial, noise)
        checked, _ = checked_lengths(lengths, T, B, x.device)
        state, initial = as_tuples(initial if state is None else state), None if resets is None else as_tuples(initial)
        y, final, _ = run(Call(cell, weights, x, state, initial, noise, checked, resets, reverse, memory=self.memory))
        return y, final

    def _check_own(self, cell: nn.Module, x: Tensor, initial: Any, noise: Any) -> None:
        """Raise for what a cell's own ``initial_state`` and ``draw_noise`` give, if it does not fit."""
        T, B = x.shape[:2]
        complaints = noise_complaints(noise, T, B) if noise else []
        if initial is not None and hasattr(type(cell), "initial_state"):
            complaints += state_complaints(initial, state_shapes(cell, B), x)
        if complaints:
            raise ValueError(
                f"{self._name}, input of shape (T, B, ...) = {tuple(x.shape)}: {'; '.join(complaints)}. It is what methods of "
                "the cell give."
            )

    def _check(self, x: Tensor, state: Any, lengths: Any, resets: Any) -> None:
        size = self.input_size
        if x.dim() < 2 or (size is not None and (x.dim() != 3 or x.shape[-1] != size)):
            order, given = "T, B", tuple(x.shape)
            if self.batch_first:
                order, given = "B, T", (given[1], given[0], *given[2:]) if len(given) >= 2 else given
            raise ValueError(
                f"{self._name} got input of shape {given}, but ({order}, {size or '...'}) is expected"
                + (f", since the cell has input_size={size}" if size else "")
                + ". Check the dimensions of the input, or build the cell for this size."
            )
        complaints: list[str] = []
        same_dtype = size is not None and not is_autocast(x)
        weight = _first_weight(self.cell)
        if weight is not None:
            if x.device != weight.device:
                complaints.append(f"input is on {x.device}, the weights are on {weight.device}: move one of them")
            if same_dtype and x.dtype != weight.dtype:
                complaints.append(f"input is {x.dtype}, the weights are {weight.dtype}: convert one of them")
        T, B = x.shape[:2]
        if state is not None:
            one = state_shapes(self.cell, B)
            misshapen = state_complaints(state, (one, one) if self.bidirectional else one, x)
            complaints += misshapen or (state_dtype_complaints(state, x.dtype) if same_dtype else [])
        complaints += checked_lengths(lengths, T, B, _CPU)[1] + resets_complaints(resets, T, B)
        if complaints:
            raise ValueError(f"{self._name}, input of shape (T, B, ...) = {tuple(x.shape)}: {'; '.join(complaints)}.")

    @property
    def _name(self) -> str:
        return f"Recurrent({type(self.cell).__name__})"

    def extra_repr(self) -> str:
        flags = ("batch_first", "bidirectional", "reverse")
        return ", ".join(f"{flag}=True" for flag in flags if getattr(self, flag))


def _first_weight(module: nn.Module) -> Tensor | None:
    """A parameter that holds real numbers; nearly always a module's own first one, where a search takes long."""
    for weight in module._parameters.values():
        if weight is not None and weight.is_floating_point():
            return weight
    return next((p for p in module.parameters() if p.is_floating_point()), None)


def initial_state(cell: nn.Module, x: Tensor) -> Any:
    """What a cell starts from: its own ``initial_state(batch_size)``, or zeros."""
    B = x.shape[1]
    if hasattr(type(cell), "initial_state"):  # of the class: what a module lacks takes it long to say
        return cell.initial_state(B)  # type: ignore[operator]
    shapes = state_shapes(cell, B)
    dtype = None
    if not x.dtype.is_floating_point:  # a cell that looks numbers up in a table
        dtype = next((p.dtype for p in cell.parameters() if p.is_floating_point()), torch.get_default_dtype())
    zeros = [x.new_zeros(s, dtype=dtype) for s in (shapes if isinstance(cell.state_size, tuple) else [shapes])]
    return tuple(zeros) if isinstance(cell.state_size, tuple) else zeros[0]


def redraw(module: nn.Module) -> None:
    """Draw a module's parameters anew: children first, so that a parent may set what it wants of theirs."""
    for child in module.children():
        redraw(child)
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
