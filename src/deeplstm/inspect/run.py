"""The one pass of a model that `trace` and `memory` look at: how it is called, and what it returns."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .layers import foreign_layers
from .record import Recording, record
from .record import Sequence as Recorded


def check_model(what: str, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{what} got a model of type {type(model).__name__}, but an nn.Module is expected.")


def recorded(
    what: str,
    model: nn.Module,
    x: Any,
    state: Any,
    lengths: Any,
    kwargs: dict[str, Any],
    values: Sequence[str] | None,
    grad: bool,
) -> Recording:
    """A model's one pass, called as layers are called: the state and the lengths only where they are given."""
    if grad:
        x, state = _with_gradients(x), _with_gradients(state)
    args = (x,) if state is None else (x, state)
    kwargs = kwargs if lengths is None else {**kwargs, "lengths": lengths}
    with torch.inference_mode(torch.is_inference_mode_enabled() and not grad), torch.set_grad_enabled(grad):
        recording = record(model, *args, only=values, differentiable=grad, **kwargs)
    foreign = foreign_layers(model)
    if not recording.sequences:
        hint = (
            f"It has {', '.join(foreign)}: use deeplstm's class of that name, which loads the same state dict."
            if foreign
            else ("Give a model with LSTM, GRU, RNN, Recurrent or Stack in it.")
        )
        raise ValueError(f"{what}: no recurrent layer of deeplstm ran in {type(model).__name__}. {hint}")
    found = {name for sequence in recording.sequences for name in sequence.runs[0].values}
    if missing := sorted(set(values or ()) - found):
        raise ValueError(
            f"{what} got values={list(values or ())!r}, but no layer marks {', '.join(missing)}: leave values out, and "
            "print the trace, to see all names."
        )
    if foreign:
        warnings.warn(
            f"{what} does not see {', '.join(foreign)}: use deeplstm's class of that name, which loads the same state dict.",
            stacklevel=3,
        )
    return recording


def differentiable(model: nn.Module) -> nn.Module:
    """The model, or a copy of it where its parameters were made in inference mode: through those there are no gradients."""
    if not any(p.is_inference() for p in model.parameters()):
        return model
    with torch.inference_mode(False), torch.no_grad():
        return copy.deepcopy(model)


def _with_gradients(value: Any) -> Any:
    """The same values, also where they were made in inference mode: those tensors cannot have gradients."""
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_with_gradients, value))
    if not isinstance(value, Tensor) or not value.is_inference():
        return value
    with torch.inference_mode(False), torch.no_grad():
        return value.clone()


def split_result(result: Any) -> tuple[Any, Any]:
    """What a model returns, as output and state."""
    if isinstance(result, tuple) and not hasattr(result, "batch_sizes") and len(result) >= 1:  # no packed sequence
        return result[0], result[1] if len(result) > 1 else None
    return result, None


def is_batch_first(model: nn.Module) -> bool:
    """Whether any module of a model has ``batch_first``."""
    return any(getattr(module, "batch_first", False) for module in model.modules())


def time_major(y: Any, like: Recorded, model: nn.Module) -> Tensor | None:
    """A model's output as (T, B, O), or (1, B, O) where it has one for each row; None where it is neither.

    Which of its first two dimensions is time is told by the steps and rows of a layer; where these are equal, by
    ``batch_first`` of any module.
    """
    T, B = like.steps, like.rows
    if not isinstance(y, Tensor) or not y.requires_grad:
        return None
    shape = tuple(y.shape)
    if shape[:2] == (B, T) and (T != B or is_batch_first(model)):
        y = y.transpose(0, 1)
    elif B == 1 and y.dim() == 2 and shape[0] == T:  # unbatched
        y = y.unsqueeze(1)
    elif shape[:1] == (B,) and shape[:2] != (T, B):
        y = y.unsqueeze(0)
    elif shape[:2] != (T, B):
        return None
    return y.flatten(2) if y.dim() > 2 else y.unsqueeze(-1)
