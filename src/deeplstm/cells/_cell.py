"""What every built-in cell shares: sizes, options, noise, the door for a single step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

Noise = dict[str, Tensor]
_has_autocast = cache(torch.amp.is_autocast_available)


def raise_all(name: str, complaints: Iterable[str]) -> None:
    """Raise one ValueError that lists every complaint, if there is any."""
    found = list(complaints)
    if found:
        raise ValueError(f"{name}: " + "; ".join(found) + ".")


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def size_complaints(**sizes: object) -> list[str]:
    """A complaint for every size that is not a whole number of at least 1."""
    return [
        f"{name}={value!r} is given, a whole number of at least 1 is expected"
        for name, value in sizes.items()
        if not is_whole(value) or value < 1
    ]


def number_complaints(**numbers: object) -> list[str]:
    """A complaint for every value that is neither None nor a finite number."""
    return [
        f"{name}={value!r} is given, a number is expected"
        for name, value in numbers.items()
        if value is not None and not is_number(value)
    ]


def probability_complaints(**probabilities: object) -> list[str]:
    """A complaint for every probability outside [0, 1)."""
    return [
        f"{name}={value!r} is given, a probability in [0, 1) is expected"
        for name, value in probabilities.items()
        if not is_number(value) or not 0 <= value < 1
    ]


def is_autocast(x: Tensor | str) -> bool:
    """Whether products with x, or on this type of device, are autocast, so that dtypes may differ."""
    kind = x if isinstance(x, str) else x.device.type
    return _has_autocast(kind) and torch.is_autocast_enabled(kind)


def options_in(arguments: dict[str, Any]) -> dict[str, Any]:
    """From the ``locals()`` of a constructor, the options alone: what `Cell` keeps, prints and compares with defaults."""
    others = ("self", "__class__", "input_size", "hidden_size", "device", "dtype")
    return {name: value for name, value in arguments.items() if name not in others}


def _changed(cell: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options that differ from the defaults of the class they belong to: this one, or one it is derived from."""
    signatures = (inspect.signature(cls.__init__).parameters for cls in cell.__mro__)  # type: ignore[misc]
    defaults = next(signature for signature in signatures if signature.keys() >= options.keys())
    return {name: value for name, value in options.items() if value != defaults[name].default}


class Cell(nn.Module):
    """A recurrent cell: ``forward(x, state) -> (output, new_state)`` for one time step.

    What runs a cell over time needs only that call and ``state_size``; a cell of your own is any ``nn.Module`` with the
    two. This class adds what the built-in cells share:

    * *noise*. Random masks are drawn by `draw_noise` and handed in, so that the equations are a function of their
      arguments and every backend sees the same masks. ``forward(x, state)`` without ``noise`` draws for that one step.
    * *weight drop*. `draw_weights` gives the parameters with some recurrent weights dropped, once for a whole sequence.

    Attributes: ``input_size``, ``hidden_size``, ``output_size`` and ``state_size``, an int or a tuple of ints.
    """

    input_size: int
    hidden_size: int
    output_size: int
    state_size: int | tuple[int, ...]

    def __init__(
        self, input_size: int, hidden_size: int, options: dict[str, Any], complaints: Iterable[str] = ()
    ) -> None:
        """``complaints``: what the subclass found wrong with its own options, raised together with what is found here."""
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.options = options
        self.changed_options = _changed(type(self), options)
        self.recurrent_dropout: float = options.get("recurrent_dropout", 0.0)
        self.weight_drop: float = options.get("weight_drop", 0.0)
        raise_all(
            type(self).__name__,
            [
                *size_complaints(input_size=input_size, hidden_size=hidden_size),
                *complaints,
                *probability_complaints(recurrent_dropout=self.recurrent_dropout, weight_drop=self.weight_drop),
            ],
        )

    def forward(self, x: Tensor, state: Any = None, noise: Noise | None = None) -> tuple[Tensor, Any]:
        """One time step.

        Shapes: x (B, input_size); state as ``state_size`` says, each (B, size), zeros where None; noise what
            `draw_noise` gave, without its time dimension. Returns (output (B, output_size), new_state).
        """
        if noise is not None:  # called from a loop, which has checked and drawn
            return self.step(x, state, noise)
        state = self._checked_state(x, state)
        noise = {name: mask[0] for name, mask in self.draw_noise(1, *x.shape[:-1], like=x).items()}
        weights = self.draw_weights()
        if weights is None:
            return self.step(x, state, noise)
        output: tuple[Tensor, Any] = torch.func.functional_call(self, weights, (x, state, noise))
        return output

    def step(self, x: Tensor, state: Any, noise: Noise) -> tuple[Tensor, Any]:
        """The cell's equations."""
        raise NotImplementedError

    # ---------------------------------------------------------------- noise

    def noise_shapes(self) -> dict[str, tuple[str, int, float]]:
        """For each mask of a training step: ("step" or "sequence", width, probability of a one before scaling)."""
        shapes = {}
        if self.recurrent_dropout:
            shapes["recurrent_dropout"] = ("sequence", self.output_size, 1 - self.recurrent_dropout)
        return shapes

    def draw_noise(self, steps: int, *batch: int, like: Tensor) -> Noise:
        """Draw the random masks of a sequence; none in evaluation mode.

        Returns name -> (steps, *batch, width), or (1, *batch, width) for a mask that holds for the whole sequence.
        Dropout masks are scaled by 1 / (1 - p); zoneout masks are boolean, true where the old value stays.
        """
        if not self.training:
            return {}
        noise = {}
        for name, (kind, width, probability) in self.noise_shapes().items():
            shape = (steps if kind == "step" else 1, *batch, width)
            mask = torch.rand(shape, device=like.device) < probability
            noise[name] = mask if kind == "step" else mask.to(like.dtype) / probability
        return noise

    def draw_weights(self) -> dict[str, Tensor] | None:
        """The parameters with recurrent weights dropped (Merity et al. 2017), or None where nothing is dropped."""
        if not (self.training and self.weight_drop):
            return None
        return {
            name: nn.functional.dropout(p, self.weight_drop) if "weight_hh" in name else p
            for name, p in self.named_parameters()
        }

    # ---------------------------------------------------------------- the door, and what it prints

    def _checked_state(self, x: Tensor, state: Any) -> Any:
        sizes = self.state_size if isinstance(self.state_size, tuple) else (self.state_size,)
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} got an input of type {type(x).__name__}, but a tensor (B, {self.input_size}) is expected."
            )
        weight = next(self.parameters())
        mixed = is_autocast(x)
        complaints = []
        if x.shape[-1:] != (self.input_size,):
            complaints.append(
                f"input of shape {tuple(x.shape)} is given, but input_size={self.input_size} asks for (B, {self.input_size})"
            )
        elif x.dtype != weight.dtype and not mixed:
            complaints.append(f"input of {x.dtype} is given, but the weights are {weight.dtype}: convert one of them")
        if x.device != weight.device:
            complaints.append(f"input on {x.device} is given, but the weights are on {weight.device}: move one of them")
        if state is None:
            zeros = tuple(x.new_zeros(*x.shape[:-1], size) for size in sizes)
            state = zeros if isinstance(self.state_size, tuple) else zeros[0]
        else:
            parts = state if isinstance(self.state_size, tuple) and isinstance(state, tuple | list) else (state,)
            wanted = [(*x.shape[:-1], size) for size in sizes]
            given = [tuple(p.shape) if isinstance(p, Tensor) else type(p).__name__ for p in parts]
            if given != wanted:
                complaints.append(f"a state of shapes {given} is given, {wanted} is expected for this input")
            elif not mixed and (dtypes := {p.dtype for p in parts} - {x.dtype}):
                complaints.append(
                    f"a state of {', '.join(map(str, dtypes))} is given, but the input is {x.dtype}: convert one"
                )
        raise_all(name, complaints)
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}"
        return ", ".join([sizes, *(f"{name}={value!r}" for name, value in self.changed_options.items())])

    def uniform_(self, tensors: Iterable[Tensor | None]) -> None:
        """Torch's start: every value uniform in [-1/sqrt(H), 1/sqrt(H)]."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for tensor in tensors:
                if tensor is not None:
                    tensor.uniform_(-bound, bound)


def zone_out(old: Tensor, new: Tensor, probability: float, mask: Tensor | None) -> Tensor:
    """Zoneout (Krueger et al. 2016): each unit keeps its old value with this probability; its mean in evaluation.

    Shapes: old, new, mask (B, H); mask is true where the old value stays, None in evaluation mode.
    """
    if not probability:
        return new
    if mask is None:
        return probability * old + (1 - probability) * new
    return torch.where(mask, old, new)
