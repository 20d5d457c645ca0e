"""How far two runs are apart, and how far they may be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Results = dict[str, Tensor]


class Tolerance(NamedTuple):
    """How far two tensors may be apart: ``absolute`` plus ``relative`` times the largest value of what is expected."""

    relative: float
    absolute: float


TOLERANCE = {torch.float64: Tolerance(1e-9, 1e-11), torch.float32: Tolerance(2e-5, 2e-6)}


FOLD = 4.0
"""How many times the error of plain PyTorch one may be away from it: two errors, and the chance in both."""


class Comparison(NamedTuple):
    error: float
    allowed: float
    problem: str


def compare(found: Results, expected: Results, rounding: dict[str, float] | None = None) -> Comparison:
    """The worst of all tensors, and a text that lists every one that is too far off.

    ``rounding``: how far the expected ones are themselves from what is right; `FOLD` times that is allowed too.
    """
    worst, problems = (0.0, 0.0, 0.0), []
    for name, want in expected.items():
        got = found[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            problems.append(f"{name} is {got.dtype} {tuple(got.shape)} instead of {want.dtype} {tuple(want.shape)}")
            continue
        relative, absolute = TOLERANCE[torch.float64 if want.dtype == torch.float64 else torch.float32]
        got, want = got.detach().double(), want.detach().double()
        allowed = absolute + relative * _largest(want[want.isfinite()]) + FOLD * (rounding or {}).get(name, 0.0)
        is_same = (got == want) | (got.isnan() & want.isnan())
        error = _largest(torch.where(is_same, 0.0, got - want))
        worst = max(worst, (error / allowed, error, allowed))
        if error > allowed:
            problems.append(f"{name} by {error:.2g} ({allowed:.2g} allowed)")
    return Comparison(*worst[1:], "; ".join(problems))


def distances(found: Results, exact: Results) -> dict[str, float]:
    """How far each tensor is from what it would be with more digits."""
    return {name: _largest(found[name].detach().double() - exact[name].detach().double()) for name in found}


def _largest(values: Tensor) -> float:
    return float(values.abs().nan_to_num(nan=float("inf")).max()) if values.numel() else 0.0
