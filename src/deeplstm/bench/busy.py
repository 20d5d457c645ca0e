"""How much slower training gets while another process has work for a core."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deeplstm.bench.cases import QUICK, Case
from deeplstm.bench.cells import LSTM
from deeplstm.bench.check import complaint, disagreements
from deeplstm.bench.contestants import DROP_IN, OURS, PEER, contestants
from deeplstm.bench.timing import Rounds, in_modes
from deeplstm.bench.work import Found, Unit

CASE = Case(100, 64, 256, 2)


def units(quick: bool, rounds: Rounds) -> list[Unit]:
    case = QUICK if quick else CASE
    return [Unit("busy", f"busy {case}", 1.0 if quick else 60.0, lambda time_left: measure(case, rounds))]


def measure(case: Case, rounds: Rounds) -> Found:
    """A row for each contestant: milliseconds alone, beside the other process, and the ratio."""
    field = [one for one in contestants(LSTM, case) if one.name in (PEER, DROP_IN, OURS)]
    found = Found()
    for name, (error, where) in disagreements(field, case).items():
        wrong = complaint(error, where)
        if wrong:
            found.failed.append(f"busy {case}, {name}: {wrong}")
            field = [one for one in field if one.name != name]
    alone = in_modes(field, case, "training", rounds)
    with another_process():
        busy = in_modes(field, case, "training", rounds)
    for one in field:
        before, beside = alone[LSTM, one.name].median, busy[LSTM, one.name].median
        names = {"contestant": one.name, "alone_ms": before, "busy_ms": beside, "slowdown": beside / before}
        found.rows.append({**case._asdict(), **names})
    return found


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
