"""The grid: every case and cell, checked, then timed."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import torch

from benchmarks.cases import Case, flops
from benchmarks.cells import LSTM
from benchmarks.check import ERROR, complaint, disagreements
from benchmarks.contestants import DROP_IN, OURS, PEER, SLOW, Contestant, contestants, peer_of
from benchmarks.memory import kept_bytes
from benchmarks.peak import Peak
from benchmarks.timing import Rounds, in_modes

MODES = ("inference", "training")


class Measured(NamedTuple):
    """What one cell at one size gave.

    Attributes:
        rows: one for each contestant and mode.
        failed: what is wrong, for each contestant that is not timed because its results are.
        errors: what the check saw, by contestant, where it is a number.
    """

    rows: list[dict[str, Any]]
    failed: list[str]
    errors: dict[str, float]


def measure(cell: str, case: Case, *, compiled: bool, jax: bool, slow: bool, rounds: Rounds, peak: Peak) -> Measured:
    """Check and time one cell at one size.

    Args:
        cell, case: which.
        compiled, jax: whether torch.compile and JAX take part.
        slow: whether the slow ones are timed too; the plain loop is there for the check in any case.
        rounds: of the timing.
        peak: measured in between.
    """
    torch._dynamo.reset()  # it compiles a function anew only so many times
    field = contestants(cell, case, compiled=compiled and slow, jax=jax and slow)
    found = disagreements(field, case)
    wrong = {name: reason for name, what in found.items() if (reason := complaint(*what))}
    field = [one for one in field if one.name not in wrong and (slow or one.name not in SLOW)]
    if cell != LSTM and (yardstick := our_lstm(case)):
        field.append(yardstick)
    rows = []
    for mode in MODES:
        rows += _rows(field, cell, case, mode, rounds, peak.measure)
    failed = [f"{case} {cell}, {name}: {reason}" for name, reason in wrong.items()]
    return Measured(rows, failed, {name: error for name, (error, _) in found.items() if isfinite(error)})


@lru_cache(maxsize=1)
def our_lstm(case: Case) -> Contestant | None:
    """Our own plain LSTM, which other cells are measured beside in the same turns; None where its results are wrong."""
    field = [one for one in contestants(LSTM, case, compiled=False, jax=False) if one.name in (PEER, OURS)]
    (error, _), *_ = disagreements(field, case).values()
    return field[-1] if error <= ERROR else None


def _rows(
    field: Sequence[Contestant], cell: str, case: Case, mode: str, rounds: Rounds, between: Callable[[], object]
) -> list[dict[str, Any]]:
    times = in_modes(field, case, mode, rounds, between)
    work = {(one.cell, one.name): flops(case, one.parameters.values(), mode) for one in field}
    peer = peer_of(cell, {name: time.median for (kind, name), time in times.items() if kind == cell})
    per_flop = {key: time.median / work[key] for key, time in times.items()}
    rows = []
    for one in field:
        key = (one.cell, one.name)
        if one.cell != cell:
            continue
        time = times[key]
        row = {
            **case._asdict(),
            "cell": cell,
            "contestant": one.name,
            "mode": mode,
            "ms": time.median,
            "ms_quartiles": [time.lower, time.upper],
            "rounds": time.rounds,
            "peer": peer,
            "times_as_fast": times[cell, peer].median / time.median if peer else None,
            "gflops": work[key] / time.median / 1e6,
            "flop_time_beside_lstm": per_flop[key] / per_flop[LSTM, OURS] if (LSTM, OURS) in per_flop else None,
        }
        if mode == "training" and one.name in (PEER, DROP_IN, OURS):
            row["kept_bytes"] = kept_bytes(one, case)
        rows.append(row)
    return rows
