"""One checked call of `scan`, as backends see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .state import shapes_of, tensors_of

Step = Callable[..., tuple[Tensor, Any]] | nn.Module


@dataclass(frozen=True)
class Call:
    """What `scan` was asked to do, after its checks. Shapes as in `scan`; ``lengths`` is None where all are T."""

    step: Step
    params: dict[str, Tensor] | None
    x: Tensor
    state: Any
    initial: Any
    noise: dict[str, Tensor] | None
    lengths: Tensor | None
    resets: Tensor | None
    reverse: bool


def name_of(step: Step) -> str:
    return type(step).__name__ if isinstance(step, nn.Module) else getattr(step, "__name__", repr(step))


def checked_lengths(
    lengths: Tensor | Sequence[int] | None, T: int, B: int, device: torch.device
) -> tuple[Tensor | None, list[str]]:
    """Lengths as (B,) int64 on the device, or None where every one is T; and what is wrong with them."""
    if lengths is None:
        return None, []
    if isinstance(lengths, Tensor):
        given = lengths.detach()
    else:
        given = torch.tensor(list(lengths), dtype=None if len(lengths) else torch.int64)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        return None, [f"lengths are {given.dtype}, whole numbers are expected"]
    if given.shape != (B,):
        return None, [f"lengths have shape {tuple(given.shape)}, ({B},) is expected: one for each row of the batch"]
    given = given.to("cpu", torch.int64)
    bad = [int(n) for n in given if not 0 <= n <= T]
    if bad:
        return None, [f"lengths contain {bad[:5]}, numbers from 0 to T={T} are expected"]
    if bool((given == T).all()):
        return None, []
    return given.to(device), []


def resets_complaints(resets: Any, T: int, B: int) -> list[str]:
    """What is wrong with a mask of resets."""
    if resets is None:
        return []
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool:
        kind = resets.dtype if isinstance(resets, Tensor) else type(resets).__name__
        return [f"resets are {kind}, a tensor of torch.bool is expected"]
    if resets.shape != (T, B):
        return [f"resets have shape {tuple(resets.shape)}, (T, B) = ({T}, {B}) is expected"]
    return []


def state_complaints(state: Any, wanted: Any, like: Tensor, what: str = "state") -> list[str]:
    """What is wrong with a state whose shapes should be ``wanted``."""
    if shapes_of(state) != wanted:
        return [f"{what} has shapes {shapes_of(state)}, {wanted} is expected"]
    moved = {str(t.device) for t in tensors_of(state)} - {str(like.device)}
    return [f"{what} is on {', '.join(sorted(moved))}, but the input is on {like.device}"] if moved else []
