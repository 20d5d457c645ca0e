"""One step at a time with one row: microseconds, measured by `benchmarks/streaming.py` of the repository."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from deeplstm.bench.surroundings import checkout
from deeplstm.bench.timing import Rounds
from deeplstm.bench.work import Found, Unit

QUICK_SIZES = [(1, 40)]
"""Layers and units."""


CHARACTER = "a character"
WRITER, WRITING_LOOP = "deeplstm generate", "loop over nn.LSTM"
"""Of `CHARACTER`: who writes it, with a network of 2x128."""


def script() -> Path | None:
    """The file that measures: its ``latency(rounds[, sizes])`` returns rows with size, name, microseconds and floor, its
    ``writing(rounds)``, if it has one, characters a second of a stream and of a loop.
    """
    root = checkout()
    found = root / "benchmarks" / "streaming.py" if root else None
    return found if found and found.is_file() else None


def units(file: Path, quick: bool, rounds: Rounds) -> list[Unit]:
    return [Unit("streaming", "streaming", 5.0 if quick else 60.0, lambda time_left: measure(file, quick, rounds))]


def measure(file: Path, quick: bool, rounds: Rounds) -> Found:
    """A row for each size and contestant: microseconds of a step, and what reading the weights alone takes."""
    module = _loaded(file)
    rows = module.latency(rounds, QUICK_SIZES) if quick else module.latency(rounds)
    names = {"size": "size", "contestant": "name", "us": "microseconds", "floor_us": "floor"}
    found = Found([{ours: getattr(row, theirs) for ours, theirs in names.items()} for row in rows])
    if hasattr(module, "writing"):
        written = module.writing(rounds)
        for name, a_second in ((WRITER, written.stream), (WRITING_LOOP, written.loop)):
            found.rows.append({"size": CHARACTER, "contestant": name, "us": 1e6 / a_second, "floor_us": None})
    return found


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("deeplstm_bench_streaming", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
