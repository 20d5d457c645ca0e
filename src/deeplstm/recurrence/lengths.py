"""Sequences of unequal lengths in one padded tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def mask(lengths: Tensor, T: int) -> Tensor:
    """True at the steps inside each sequence.

    Shapes: lengths (B,) -> (T, B) bool.
    """
    return torch.arange(T, device=lengths.device)[:, None] < lengths


def flip(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sequence within its own length; what lies beyond stays.

    Shapes: x (T, B, F), lengths (B,) -> (T, B, F).
    """
    t = torch.arange(x.shape[0], device=x.device)[:, None]  # (T, 1)
    source = torch.where(t < lengths, lengths - 1 - t, t)  # (T, B)
    return x.gather(0, source[..., None].expand_as(x))
