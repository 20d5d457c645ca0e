"""What larger operators of torch are made of.

Torch says it itself, for nearly all of them. Those here are the ones that nearly every cell's backward step has: torch's own
of these import its symbolic shapes, which takes half a second of every process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor
from torch._decomp import _core_aten_decompositions_post_autograd

from .operators import aten

_KEPT = (
    aten.split.Tensor,
    aten.empty_like.default,
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.select_scatter.default,  # it would become a mask made of an arange
)
"""Operators that lowering takes as they are."""


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = dict(_core_aten_decompositions_post_autograd())
    for operator in _KEPT:
        table.pop(operator, None)
    return table | {
        aten.sigmoid_backward.default: lambda slope, y: slope * (y * (1 - y)),
        aten.tanh_backward.default: lambda slope, y: slope * (1 - y * y),
        aten.hardsigmoid_backward.default: _hardsigmoid_backward,
        aten.native_layer_norm_backward.default: _layer_norm_backward,
    }


_SIXTH = float(numpy.float32(1 / 6))
"""As torch's own kernel has it, in float64 too."""


def _hardsigmoid_backward(slope: Tensor, x: Tensor) -> Tensor:
    return torch.where((x > -3) & (x < 3), slope * _SIXTH, 0.0)


def _layer_norm_backward(
    slope: Tensor,
    x: Tensor,
    normalized_shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Ba, Kiros and Hinton 2016, "Layer Normalization", differentiated: the mean and the part along x fall away."""
    first = x.dim() - len(normalized_shape)
    rows, columns = list(range(first)), list(range(first, x.dim()))
    normal = (x - mean) * rstd
    dnormal = slope if weight is None else slope * weight
    along = torch.mean(dnormal * normal, columns, keepdim=True)
    dx = rstd * (dnormal - torch.mean(dnormal, columns, keepdim=True) - normal * along) if wanted[0] else None
    dweight = (slope * normal).sum(rows) if wanted[1] and weight is not None else None
    dbias = slope.sum(rows) if wanted[2] and bias is not None else None
    return dx, dweight, dbias
