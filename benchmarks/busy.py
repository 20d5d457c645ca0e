"""How much slower training gets while another process has work for a core."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import Case
from benchmarks.cells import LSTM
from benchmarks.contestants import OURS, PEER, contestants
from benchmarks.timing import Rounds, in_modes

CASE = Case(100, 64, 256, 2)


def measure(case: Case, rounds: Rounds) -> list[dict[str, Any]]:
    """A row for each contestant: milliseconds alone, beside the other process, and the ratio."""
    field = [one for one in contestants(LSTM, case, compiled=False, jax=False) if one.name in (PEER, OURS)]
    alone = in_modes(field, case, "training", rounds)
    with another_process():
        busy = in_modes(field, case, "training", rounds)
    return [
        {
            **case._asdict(),
            "contestant": one.name,
            "alone_ms": alone[LSTM, one.name].median,
            "busy_ms": busy[LSTM, one.name].median,
            "slowdown": busy[LSTM, one.name].median / alone[LSTM, one.name].median,
        }
        for one in field
    ]


@contextmanager
def another_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes without end, until the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        yield process
    finally:
        process.kill()
        process.communicate()
