"""How long the first call of a cell takes in a new process: `python -m deeplstm.bench.first_call CELL` prints it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from deeplstm.bench.cases import Case
from deeplstm.bench.cells import stack_of
from deeplstm.bench.contestants import OURS, on
from deeplstm.bench.work import Found, Unit

CASE = Case(2, 4, 192, 1)
"""So few steps that everything but capturing and compiling is nothing; a size that no other benchmark has."""


def units(cells: list[str]) -> list[Unit]:
    """One for each cell: what the first one of a process loads, the next ones need not."""
    return [
        Unit("first-call", f"first call of {cell}", 9.0, lambda time_left, cell=cell: Found([measure(cell)]))  # type: ignore[misc]
        for cell in cells
    ]


def measure(cell: str) -> dict[str, Any]:
    """Seconds of the first call with its backward, in a new process, then in a second one.

    Both have the same empty folder for caches, so that the second shows what the first left behind.
    """
    with tempfile.TemporaryDirectory() as cache:
        # whatever this process's users keep is not read: both variables are where a cache may lie
        env = {**os.environ, "XDG_CACHE_HOME": cache, "DEEPLSTM_CACHE": cache, "PYTHONPATH": _path()}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process would translate this package's Python anew
        first, second = (_in_a_process(cell, env) for _ in range(2))
    return {**CASE._asdict(), "cell": cell, "contestant": OURS, "first_s": first, "again_s": second}


def _in_a_process(cell: str, env: dict[str, str]) -> float:
    done = subprocess.run([sys.executable, "-m", __name__, cell], env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(next(reversed(done.stderr.strip().splitlines()), f"status {done.returncode}"))
    return float(done.stdout)


def _path() -> str:
    """The package of this process is that of the other, wherever it was found."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def first_call(cell: str) -> float:
    """In this process; torch itself is warm, LLVM is not loaded yet."""
    torch.nn.LSTM(4, 4)(torch.zeros(2, 2, 4, requires_grad=True))[0].sum().backward()
    run, x = on("cpu", stack_of(cell, CASE)), torch.zeros(CASE.T, CASE.B, CASE.H)
    start = perf_counter()
    run(x)[0].sum().backward()
    return perf_counter() - start


if __name__ == "__main__":
    print(first_call(sys.argv[1]))
