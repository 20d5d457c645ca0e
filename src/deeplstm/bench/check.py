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
FOLD = 2.0
"""How many times as far from float64 as the plain loop one may be, where its equations make more than `ERROR` of rounding."""
ROUNDING = 1e-3
"""Largest distance from float64, relative to the largest value of the tensor, that a plain loop's rounding may have."""


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


def beyond_rounding(loop: Contestant, one: Contestant, exact: Contestant, case: Case) -> str | None:
    """What is wrong with a contestant that is further from the plain loop than `ERROR`; None where it is only rounding.

    Some equations make large differences of small ones, a layer norm of nearly equal numbers for one. Then the plain loop is
    itself far from what is right, and the measure is its own distance: that of every tensor from float64 may be at most
    `FOLD` times as large, or `ERROR`, as anywhere.

    Args:
        exact: the plain loop with the same weights in float64.
    """
    x = torch.randn(case.T, case.B, case.H)
    right = results(exact, x.double())
    found, plain = (distances(results(each, x), right) for each in (one, loop))
    for name, distance in found.items():
        if not plain[name] <= ROUNDING:
            return f"{name} of the plain loop itself is {plain[name]:.1e} of its largest value from float64"
        if not distance <= max(FOLD * plain[name], ERROR):
            return (
                f"{name} is {distance:.1e} of its largest value from float64, the plain loop {plain[name]:.1e}: "
                f"at most {FOLD:.0f} times as much is expected"
            )
    return None


def distances(found: dict[str, Tensor], right: dict[str, Tensor]) -> dict[str, float]:
    """How far every tensor is from the right one, relative to its largest value."""
    return {
        name: (value - right[name]).abs().max().item() / (right[name].abs().max().item() or 1.0)
        for name, value in found.items()
    }


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
        upstream = [torch.randn(shape, generator=draw).to(x.dtype) for shape in shapes]
        outputs, gradients = _seeded(contestant.training(x, upstream))
        found |= {part: value.detach().clone() for part, value in zip(PARTS, outputs, strict=False)}
        names = ["dx", *(f"d{name}" for name in contestant.parameters)]
        found |= {name: value.clone() for name, value in zip(names, gradients, strict=True)}
    return found


def _seeded(call: Callable[[], Result]) -> Result:
    """Masks are drawn outside the backends and in the same order, so that one seed gives all the same noise."""
    torch.manual_seed(2)
    return call()
