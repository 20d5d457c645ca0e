"""A state is a tensor, or a tuple of states; None stands for a layer that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_state(function: Callable[..., Tensor], state: Any, *others: Any) -> Any:
    """Apply a function to every tensor of a state, and to those in the same places of the other states."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state, *others)
    return tuple(map_state(function, *parts) for parts in zip(state, *others, strict=True))


def tensors_of(state: Any) -> list[Tensor]:
    """Every tensor of a state, in order."""
    if state is None:
        return []
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in tensors_of(part)]


def detach(state: Any) -> Any:
    """A state cut from what computed it, to carry it into the next window of truncated back-propagation.

    >>> import torch, deeplstm
    >>> h, c = deeplstm.detach((torch.ones(2, 3, requires_grad=True), torch.ones(2, 3)))
    >>> h.requires_grad
    False
    """
    return map_state(Tensor.detach, state)


def shapes_of(state: Any) -> Any:
    """The shapes of a state, nested as it is; the type's name where something is no tensor."""
    if isinstance(state, Tensor):
        return tuple(state.shape)
    if isinstance(state, tuple | list):
        return tuple(shapes_of(part) for part in state)
    return type(state).__name__
