"""Timing that a busy moment of the machine cannot decide: contestants take turns, and medians are compared."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple, TypeVar

import torch

from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import COMPILED, LOOP, Contestant
from deeplstm.bench.peak import Peak
from deeplstm.recurrence.garbage import no_collection

Key = TypeVar("Key", bound=Hashable)


class Time(NamedTuple):
    """Milliseconds of one call over the rounds."""

    median: float
    lower: float
    upper: float
    """The quartiles."""
    rounds: int


class Rounds(NamedTuple):
    """How often everyone takes a turn, how long a turn should be, and how long all turns of one contestant may take.

    Where one call takes longer than all should, that call is all there is: a long call is its own average.
    """

    turns: int
    seconds: float
    most: float = 6.0
    most_slow: float = 2.0
    """The same for what is many times slower than what it is compared with: seconds make no difference there."""

    def fewer(self) -> "Rounds":
        """About half the time, where many are measured and ratios are far from what decides."""
        return Rounds(min(self.turns, 5), self.seconds, self.most / 2, self.most_slow / 2)


QUICK = Rounds(2, 0.0, 1.0, 1.0)
FULL = Rounds(7, 0.1)
SLOW = (LOOP, COMPILED)


SETTLE = 0.1
"""Seconds: threads of JAX and of ONNX Runtime go on looking for work about as long, at the cost of who has the next turn."""

PEAK = ("", "peak")
"""What stands for the machine among contestants."""


def in_modes(
    field: Sequence[Contestant], case: Case, mode: str, rounds: Rounds, peak: Peak | None = None
) -> dict[tuple[str, str], Time]:
    """Time contestants in a mode, all of those that have it, and what the machine can do. Keys: (cell, name), `PEAK`."""
    field = [one for one in field if mode in one.modes]
    x = torch.randn(case.T, case.B, case.H)
    calls: dict[tuple[str, str], Callable[[], object]] = {} if peak is None else {PEAK: peak.call}
    for one in field:
        dy = torch.randn(case.T, case.B, one.output_size or case.H)
        calls[one.cell, one.name] = one.inference(x) if mode == "inference" else one.training(x, [dy])
    settle = SETTLE if rounds.seconds else 0.0  # a quick run times nothing that matters
    return take_turns(calls, rounds, slow=[key for key in calls if key[1] in SLOW], settle=settle)


def take_turns(
    calls: Mapping[Key, Callable[[], object]], rounds: Rounds, slow: Collection[Key] = (), settle: float = 0.0
) -> dict[Key, Time]:
    """Time every call once a round.

    Args:
        calls: what to time. The first call of each counts only if it is all there is time for.
        rounds: how many and how long.
        slow: which have the time of slow ones, and were called before: nothing is compiled any more.
        settle: seconds for which each is called before its turn counts, until the caches are its own and what the one before
            has left running is at rest: pools of threads go on looking for work for a while.
    """
    once, repeats, turns, samples = {}, {}, {}, {}
    with no_collection():
        for key, call in calls.items():
            most = rounds.most_slow if key in slow else rounds.most
            once[key] = _seconds(call, 1)
            if key not in slow or once[key] < most / 10:
                once[key] = _seconds(call, 1)  # the first was cold, or compiled something
            repeats[key] = max(1, round(rounds.seconds / once[key]))
            turns[key] = min(rounds.turns, int(most / once[key]))
            samples[key] = [] if turns[key] else [once[key] * 1e3]
        for turn in range(rounds.turns):
            for key, call in calls.items():
                if turn < turns[key]:
                    if repeats[key] > 1:
                        call()  # the one before has filled the caches with its own
                        _settle(call, settle)
                    samples[key].append(_seconds(call, repeats[key]) * 1e3)
    return {key: _summary(values) for key, values in samples.items()}


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Of one call, the mean."""
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def _settle(call: Callable[[], object], seconds: float) -> None:
    end = perf_counter() + seconds
    while perf_counter() < end:
        call()


def _summary(values: list[float]) -> Time:
    if len(values) < 2:
        return Time(values[0], values[0], values[0], 1)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Time(median(values), lower, upper, len(values))
