"""Gradients with respect to the inputs of a layer, by how many steps they lie back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .record import Sequence


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside: those of inputs alone cost half as much."""
    asking = [p for p in model.parameters() if p.requires_grad]
    try:
        for p in asking:
            p.requires_grad_(False)
        yield
    finally:
        for p in asking:
            p.requires_grad_(True)


def lengths_of(sequence: Sequence) -> Tensor:
    """How many steps each row has, (B,)."""
    inside = sequence.inside()
    if inside is None:
        return torch.full((sequence.rows,), sequence.steps)
    return inside.sum(0).cpu()


def reads_numbers(sequence: Sequence) -> bool:
    """Whether there is a gradient with respect to what a layer reads; there is none for whole numbers."""
    return all(run.x.is_floating_point() for run in sequence.runs)


def input_squares(of: Tensor, sequences: list[Sequence], seed: Tensor | None = None) -> list[Tensor]:
    """Squared norms of the gradient of ``of`` (in direction ``seed``) with respect to every step's input: (T, B) each.

    In float64, since the square of a gradient that has vanished to 1e-20 is none of float32's numbers.
    """
    inputs = [run.x for sequence in sequences for run in sequence.runs]
    gradients = iter(torch.autograd.grad(of, inputs, seed, retain_graph=True, allow_unused=True))
    squares = []
    for sequence in sequences:
        parts = []
        for run in sequence.runs:
            gradient = next(gradients)
            gradient = torch.zeros_like(run.x) if gradient is None else gradient
            parts.append(gradient.flatten(2).double().square().sum(-1))
        squares.append(torch.cat(parts))
    return squares


def by_lag(squares: Tensor, at: Tensor, lengths: Tensor, lags: int, ahead: bool) -> Tensor:
    """What lies 0, 1, ..., lags - 1 steps before (or ahead of) each row's step ``at``; NaN where there is no such step.

    Shapes: squares (T, B); at, lengths (B,) -> (lags, B).
    """
    k = torch.arange(lags)[:, None]
    source = at + k if ahead else at - k  # (lags, B)
    there = (source >= 0) & (source < lengths)
    found = squares.cpu().gather(0, source.clamp(0, max(0, len(squares) - 1)))
    return torch.where(there, found, torch.nan)


def draw_steps(lengths: Tensor, lags: int, ahead: bool, draw: torch.Generator) -> Tensor:
    """For every row one step that has ``lags`` steps behind it (or ahead), itself among them; as many as there are, else.

    Shapes: (B,) -> (B,); -1 for an empty row.
    """
    room = (lengths - lags).clamp(min=0) + (lengths > 0)  # so many steps have it
    offset = (torch.rand(len(lengths), generator=draw) * room).long().clamp(max=(room - 1).clamp(min=0))
    steps = offset if ahead else lengths.clamp(max=lags) - 1 + offset
    return torch.where(lengths > 0, steps, -1)


def root_mean(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The root of the mean square, and its standard error: NaN stands for no sample.

    Shapes: (lags, N) -> (lags,), (lags,).
    """
    count = (~samples.isnan()).sum(1)
    mean = samples.nanmean(1)
    variance = (samples - mean[:, None]).square().nansum(1) / (count - 1).clamp(min=1)
    root = mean.sqrt()
    error = (variance / count).sqrt() / (2 * root)
    error = torch.where(root == 0, torch.zeros(()).to(error), error)
    return root, torch.where(count > 1, error, torch.nan)
