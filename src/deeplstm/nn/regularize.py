"""Regularisers that belong to a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..cells._cell import probability_complaints, raise_all


class VariationalDropout(nn.Module):
    """Dropout with one mask per sequence, the same at every step (Gal and Ghahramani 2016), also called locked dropout.

    (1) y_t = x_t * m / (1 - p),   m ~ Bernoulli(1 - p) drawn once per row and unit; in evaluation y = x.

    Args:
        p: probability of a zero, in [0, 1).

    Shapes: x (T, B, F) -> (T, B, F).
    Raises: ValueError for a probability out of range or an input that is not (T, B, F).

    >>> import torch, deeplstm
    >>> y = deeplstm.VariationalDropout(0.5)(torch.ones(4, 2, 3))
    >>> bool((y[0] == y[3]).all())
    True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        raise_all("VariationalDropout", probability_complaints(p=p))
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3:
            raise ValueError(f"VariationalDropout got input of shape {tuple(x.shape)}, but (T, B, F) is expected.")
        if not self.training or not self.p:
            return x
        keep = torch.rand(1, *x.shape[1:], device=x.device) >= self.p
        return x * (keep.to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"
