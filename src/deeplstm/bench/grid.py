"""The grid: every size and kind of cell, checked, then timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import torch

from deeplstm.bench.cases import GRID, QUICK, Case, flops
from deeplstm.bench.cells import CELLS, LSTM
from deeplstm.bench.check import ERROR, complaint, disagreements
from deeplstm.bench.contestants import (
    COMPILED,
    DROP_IN,
    JAX,
    MODES,
    OURS,
    PEER,
    RECOMPUTE,
    Contestant,
    contestants,
    peer_of,
)
from deeplstm.bench.memory import kept_bytes
from deeplstm.bench.peak import peak, speed
from deeplstm.bench.timing import PEAK, Rounds, in_modes
from deeplstm.bench.work import Found, Settings, Unit
from deeplstm.recurrence import dispatch

COMPILE_FIRST = (1, 4, 0, 6, 2, 3, 5, 7)
"""In which order sizes have their steps compiled by torch, as far as the time allows: small, large, and what lies between."""

COMPILE_SECONDS = 30.0
"""About as long as torch takes to compile the step of a cell, for training and inference."""

COMPILE_SHARE = 0.25
"""Of the time of a run."""


class Peers(NamedTuple):
    """Which of those are here that not everybody has."""

    compiled: bool
    jax: bool
    onnx: bool


def chosen(settings: Settings) -> tuple[list[Case], list[str]]:
    """The sizes and the cells of a run."""
    cells = settings.cells or (tuple(CELLS)[:2] if settings.quick else tuple(CELLS))
    cases = [QUICK] if settings.quick else [GRID[n] for n in (settings.cases or range(len(GRID)))]
    return cases, list(cells)


def to_compile(settings: Settings) -> list[Case]:
    """The sizes at which there is time to compile steps by torch: each costs half a minute a cell."""
    cases, cells = chosen(settings)
    each = COMPILE_SECONDS * max(1, sum(cell != LSTM for cell in cells))
    count = int(COMPILE_SHARE * 60 * settings.minutes / each)
    return [GRID[n] for n in COMPILE_FIRST if GRID[n] in cases][:count]


def units(settings: Settings, peers: Peers, rounds: Rounds) -> list[Unit]:
    """Every size with every cell."""
    cases, cells = chosen(settings)
    compiled = to_compile(settings) if peers.compiled else []
    found = []
    for case in cases:
        for cell in cells:
            here = peers._replace(compiled=case in compiled and cell != LSTM)
            found.append(
                Unit("grid", f"{case} {cell}", _seconds(cell, case, here), _measured(cell, case, here, rounds))
            )
    return found


def _measured(cell: str, case: Case, peers: Peers, rounds: Rounds) -> Callable[[bool], Found]:
    return lambda time_left: measure(cell, case, peers, rounds, time_left)


def measure(cell: str, case: Case, peers: Peers, rounds: Rounds, time_left: bool = True) -> Found:
    """Check and time one cell at one size.

    Args:
        cell, case: which.
        peers: who takes part beside torch and us.
        rounds: of the timing.
        time_left: whether there is any for what is slow: else torch's compiler and JAX, which has one too, are left out, and
            the plain loop, which is there for the check in any case, is called once.
    """
    torch._dynamo.reset()  # it compiles a function anew only so many times
    found = Found()
    if not time_left:
        late = [name for name, here in ((COMPILED, peers.compiled), (JAX, peers.jax)) if here]
        found.left_out += [(name, "the minutes of the run had passed") for name in late]
        peers = peers._replace(compiled=False, jax=False)
        rounds = rounds._replace(most_slow=0.0)
    field = contestants(cell, case, **peers._asdict())
    differences = disagreements(field, case)
    for name, (error, where) in differences.items():
        wrong = complaint(error, where)
        if wrong:
            found.failed.append(f"{case} {cell}, {name}: {wrong}")
            field = [one for one in field if one.name != name]
        if isfinite(error):
            found.errors.append({**case._asdict(), "cell": cell, "contestant": name, "error": error})
    if cell != LSTM and (yardstick := our_lstm(case)):
        field.append(yardstick)
    for mode in MODES:
        found.rows += _rows(field, cell, case, mode, rounds)
    return found


@lru_cache(maxsize=1)
def our_lstm(case: Case) -> Contestant | None:
    """Our own plain LSTM, which other cells are measured beside in the same turns; None where its results are wrong."""
    field = [one for one in contestants(LSTM, case) if one.name in (PEER, OURS)]
    (error, _), *_ = disagreements(field, case).values()
    return field[-1] if error <= ERROR else None


def _rows(field: Sequence[Contestant], cell: str, case: Case, mode: str, rounds: Rounds) -> list[dict[str, Any]]:
    most = peak()
    times = in_modes(field, case, mode, rounds, most)
    at_most = most.gflops(times[PEAK].median)
    work = {(one.cell, one.name): flops(case, one.parameters.values(), mode) for one in field}
    peer = peer_of(cell, {name: time.median for (kind, name), time in times.items() if kind == cell})
    per_flop = {key: times[key].median / work[key] for key in work if key in times}
    rows = []
    for one in field:
        key = (one.cell, one.name)
        if one.cell != cell or key not in times:
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
            **speed(work[key], time.median, at_most),
            "flop_time_beside_lstm": per_flop[key] / per_flop[LSTM, OURS] if (LSTM, OURS) in per_flop else None,
        }
        if mode == "training" and one.name in (PEER, DROP_IN, OURS, RECOMPUTE):
            row["kept_bytes"] = kept_bytes(one, case)
        if one.name == DROP_IN:
            row["backends"] = backends(one, case, mode)
        rows.append(row)
    return rows


def backends(one: Contestant, case: Case, mode: str) -> list[str]:
    """Which backends ran a contestant that chooses by itself."""
    x = torch.randn(case.T, case.B, case.H)
    with dispatch.recording(lambda: "") as records:
        one.inference(x)() if mode == "inference" else one.training(x, [x])()
    return sorted({record.backend for record in records})


def _seconds(cell: str, case: Case, peers: Peers) -> float:
    """What a unit may take, roughly: compiling, the plain loop, and turns of everything else."""
    steps = case.T * case.L * (1.0 if cell == LSTM else 1.5)
    once = 40 * steps * case.B * case.H**2 / 150e9  # inference and training at 150 GFLOP/s
    loop = 1.2e-3 * steps + 2 * once
    fast = 2.0 + 3 * once + min(5 * once, 6.0)
    return (
        2 * loop
        + min(5 * loop, 2.0)
        + (2 + peers.jax * (2 if cell == LSTM else 1)) * fast
        + COMPILE_SECONDS * peers.compiled
    )
