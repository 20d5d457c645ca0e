"""Timing that a busy moment of the machine cannot decide: contestants take turns, and medians are compared."""

from collections.abc import Callable, Hashable, Sequence
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

import torch
from torch.utils.benchmark import Timer

from benchmarks.cases import Case
from benchmarks.contestants import Contestant

Key = TypeVar("Key", bound=Hashable)

MOST_SECONDS = 20.0
"""A contestant gets no more in all than this, and at least one call."""


class Time(NamedTuple):
    """Milliseconds of one call over the rounds."""

    median: float
    lower: float
    upper: float
    """The quartiles."""
    rounds: int


class Rounds(NamedTuple):
    """How often everyone takes a turn, and how long a turn should be; one call where it takes longer."""

    turns: int
    seconds: float


QUICK = Rounds(2, 0.0)
FULL = Rounds(7, 0.1)


def in_modes(
    field: Sequence[Contestant], case: Case, mode: str, rounds: Rounds, between: Callable[[], object] = lambda: None
) -> dict[tuple[str, str], Time]:
    """Time contestants in a mode. Keys: (cell, name)."""
    x, dy = torch.randn(case.T, case.B, case.H), torch.randn(case.T, case.B, case.H)
    makers: dict[tuple[str, str], Callable[[], Callable[[], object]]] = {}
    for one in field:
        makers[one.cell, one.name] = _maker(one, mode, x, dy)
    return take_turns(makers, rounds, between)


def _maker(one: Contestant, mode: str, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], Callable[[], object]]:
    return (lambda: one.inference(x)) if mode == "inference" else (lambda: one.training(x, [dy]))


def take_turns(
    makers: dict[Key, Callable[[], Callable[[], object]]],
    rounds: Rounds,
    between: Callable[[], object] = lambda: None,
) -> dict[Key, Time]:
    """Time every call once a round.

    Args:
        makers: each gives the call to time; asked for at the start.
        rounds: how many and how long.
        between: called before each round.
    """
    timers, turns, samples = {}, {}, {}
    for key, maker in makers.items():
        timer = Timer("call()", globals={"call": maker()}, num_threads=torch.get_num_threads())
        once = timer.timeit(1).median  # torch warms up first
        if once < MOST_SECONDS:
            once = timer.timeit(1).median  # what was compiled, now is
        timers[key] = (timer, max(1, round(rounds.seconds / once)))
        turns[key] = min(rounds.turns, int(MOST_SECONDS / once))
        samples[key] = [once * 1e3] if not turns[key] else []
    for turn in range(rounds.turns):
        between()
        for key, (timer, calls) in timers.items():
            if turn < turns[key]:
                samples[key].append(timer.timeit(calls).median * 1e3)
    return {key: _summary(values) for key, values in samples.items()}


def _summary(values: list[float]) -> Time:
    if len(values) < 2:
        return Time(values[0], values[0], values[0], 1)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Time(median(values), lower, upper, len(values))
