"""Cells that nobody tuned for, from a folder of files with one each: against their plain loop."""

from __future__ import annotations

import copy
import importlib.util
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import nn

import deeplstm
from deeplstm.bench.cases import QUICK, Case, flops
from deeplstm.bench.check import beyond_rounding, complaint, disagreements
from deeplstm.bench.contestants import LOOP, OURS, Contestant, on
from deeplstm.bench.peak import peak, speed
from deeplstm.bench.surroundings import checkout
from deeplstm.bench.timing import PEAK, Rounds, in_modes
from deeplstm.bench.work import Found, Unit
from deeplstm.errors import InputError

CASES = [Case(100, 32, 64, 1), Case(100, 64, 256, 1)]


def folder(asked: str | None) -> Path | None:
    """Where the cells are: where one says, or in the checkout; never in the current folder, whose files may be anybody's.

    Raises: InputError for a folder without Python files.
    """
    if asked is not None:
        if not any(Path(asked).glob("*.py")):
            raise InputError(f"{asked} has no Python files, but a folder of cells is expected: one class in each file.")
        return Path(asked)
    root = checkout()
    found = root / "examples" / "cells" if root else None
    return found if found and found.is_dir() else None


def units(where: Path, quick: bool, rounds: Rounds) -> list[Unit]:
    """Every cell of a folder at every size."""
    files = sorted(where.glob("*.py"))
    cases = [QUICK] if quick else CASES
    return [
        Unit("examples", f"examples {case} {file.stem}", 2.0 + case.B * case.H / 4000, _measured(file, case, rounds))
        for case in cases
        for file in (files[:2] if quick else files)
    ]


def cell_of(file: Path) -> type[nn.Module]:
    """The one cell that a file defines. Raises: InputError for a file with none, or with several."""
    spec = importlib.util.spec_from_file_location(f"deeplstm_bench_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    cells = [kind for kind in own if issubclass(kind, nn.Module)]
    if len(cells) != 1:
        names = ", ".join(kind.__name__ for kind in cells) or "none"
        raise InputError(f"{file} has {names}, but one module is expected in a file: the cell.")
    return cells[0]


def _measured(file: Path, case: Case, rounds: Rounds) -> Any:
    def measure(time_left: bool) -> Found:
        torch.manual_seed(0)
        kind = cell_of(file)
        cell = kind(case.H, case.H)
        stack = deeplstm.Stack(cell)
        field = [_contestant(name, backend, stack) for name, backend in ((LOOP, "reference"), (OURS, "cpu"))]
        return _found(field, case, rounds if time_left else rounds._replace(most_slow=0.0))

    return measure


def _contestant(name: str, backend: str, stack: deeplstm.Stack) -> Contestant:
    cell = stack.layers[0].get_submodule("cell")
    parameters: dict[str, torch.Tensor] = dict(stack.named_parameters())
    width = getattr(cell, "output_size", None)
    return Contestant(type(cell).__name__, name, on(backend, stack), parameters, stack, output_size=width)


def _found(field: list[Contestant], case: Case, rounds: Rounds) -> Found:
    loop, ours = field
    found = Found()
    (error, where) = disagreements(field, case)[OURS]
    wrong = complaint(error, where)
    if wrong and isfinite(error):
        assert isinstance(loop.module, deeplstm.Stack)
        exact = _contestant("in float64", "reference", copy.deepcopy(loop.module).double())
        wrong = beyond_rounding(loop, ours, exact, case)
    if wrong:
        found.failed.append(f"examples {case} {ours.cell}, {OURS}: {wrong}")
        field = field[:1]
    most = peak()
    times = in_modes(field, case, "training", rounds, most)
    at_most = most.gflops(times[PEAK].median)
    for one in field:
        time = times[one.cell, one.name]
        found.rows.append(
            {
                **case._asdict(),
                "cell": one.cell,
                "contestant": one.name,
                "mode": "training",
                "ms": time.median,
                "ms_quartiles": [time.lower, time.upper],
                "rounds": time.rounds,
                "times_as_fast": times[one.cell, LOOP].median / time.median,
                **speed(flops(case, one.parameters.values(), "training"), time.median, at_most),
            }
        )
    if not wrong:
        found.errors.append({**case._asdict(), "cell": ours.cell, "contestant": OURS, "error": error})
    return found
