"""Timing that a busy moment of the machine cannot decide: contestants take turns, and medians are compared."""

from collections.abc import Callable
from statistics import median, quantiles
from typing import NamedTuple

import torch
from torch.utils.benchmark import Timer

from benchmarks.contestants import Case, Contestant


class Time(NamedTuple):
    """Milliseconds of one call over the rounds."""

    median: float
    lower: float
    upper: float
    """The quartiles."""


def take_turns(
    field: list[Contestant], case: Case, mode: str, *, rounds: int, round_seconds: float
) -> dict[tuple[str, str], Time]:
    """Time every contestant once a round, for `round_seconds` each or one call. Keys: (cell, name)."""
    x, dy = torch.randn(case.T, case.B, case.H), torch.randn(case.T, case.B, case.H)
    call = {"inference": _inference, "training": _training}[mode]
    timers = {}
    for contestant in field:
        timer = Timer("call()", globals={"call": call(contestant, x, dy)}, num_threads=torch.get_num_threads())
        once = timer.timeit(1).median  # torch warms up first
        timers[contestant.cell, contestant.name] = (timer, max(1, round(round_seconds / once)))
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in timers}
    for _ in range(rounds):
        for key, (timer, calls) in timers.items():
            samples[key].append(timer.timeit(calls).median * 1e3)
    return {key: _summary(values) for key, values in samples.items()}


def _inference(contestant: Contestant, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return contestant.run(x)

    return call


def _training(contestant: Contestant, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], object]:
    """Forward and backward, with the gradient of the input, as a layer below would need it."""
    x = x.clone().requires_grad_()
    wanted = [x, *contestant.parameters.values()]

    def call() -> object:
        return torch.autograd.grad(contestant.run(x)[0], wanted, dy)

    return call


def _summary(values: list[float]) -> Time:
    if len(values) < 2:
        return Time(values[0], values[0], values[0])
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Time(median(values), lower, upper)
