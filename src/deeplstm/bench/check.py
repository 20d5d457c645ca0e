"""No timing without a check: contestants of a kind must give the same outputs, states and gradients."""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import TypeVar

import torch
from torch import Tensor

from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import Contestant

Result = TypeVar("Result")

PARTS = ("y", *(f"state {n}" for n in range(9)))

ERROR = 2e-5
"""Largest difference allowed, relative to the largest value of the tensor: float32 after hundreds of steps. Over the grid
right results differ by up to 4e-6, layer norm no more than the others since its gains start at 0.1."""


def disagreements(field: list[Contestant], case: Case) -> dict[str, tuple[float, str]]:
    """For each contestant but the first, the largest relative difference from the first, and in what; one that raises is
    infinitely wrong.
    """
    x = torch.randn(case.T, case.B, case.H)
    expected = results(field[0], x)
    shapes = [expected[part].shape for part in PARTS if part in expected]
    found = {}
    for contestant in field[1:]:
        worst = (0.0, "")
        try:
            given = results(contestant, x, shapes)
        except Exception as error:  # whatever it is, a run of an hour goes on with the others and says what failed
            reason = next(iter(str(error).strip().splitlines()), "")
            found[contestant.name] = (inf, f"{type(error).__name__} was raised: {reason}")
            continue
        for name, value in given.items():
            scale = expected[name].abs().max().item() or 1.0
            off = (value - expected[name]).abs().max().item() / scale
            worst = max(worst, (off, name) if isfinite(off) else (inf, f"{name} has values that are not finite"))
        found[contestant.name] = worst
    return found


def complaint(error: float, where: str) -> str | None:
    """What is wrong with a contestant of which this was found; None where nothing is."""
    if error <= ERROR:
        return None
    if error == inf:
        return where
    return f"{where} is off by {error:.1e} of its largest value, at most {ERROR:.0e} is expected"


def results(contestant: Contestant, x: Tensor, shapes: Sequence[torch.Size] = ()) -> dict[str, Tensor]:
    """Output and final state of the modes it has, and of training the gradient of the input and of every parameter.

    Args:
        contestant, x: what and of what.
        shapes: of y and every part of the state, for one that has no inference to take them from.
    """
    found: dict[str, Tensor] = {}
    if "inference" in contestant.modes:
        alone = _seeded(contestant.inference(x))
        found |= {f"inference, {part}": value.detach().clone() for part, value in zip(PARTS, alone, strict=False)}
        shapes = [value.shape for value in alone]
    if "training" in contestant.modes:
        draw = torch.Generator().manual_seed(1)
        upstream = [torch.randn(shape, generator=draw) for shape in shapes]
        outputs, gradients = _seeded(contestant.training(x, upstream))
        found |= {part: value.detach().clone() for part, value in zip(PARTS, outputs, strict=False)}
        names = ["dx", *(f"d{name}" for name in contestant.parameters)]
        found |= {name: value.clone() for name, value in zip(names, gradients, strict=True)}
    return found


def _seeded(call: Callable[[], Result]) -> Result:
    """Masks are drawn outside the backends and in the same order, so that one seed gives all the same noise."""
    torch.manual_seed(2)
    return call()
