"""One step at a time with one row: microseconds, measured by `benchmarks/streaming.py` of the repository."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from deeplstm.bench.surroundings import checkout
from deeplstm.bench.work import Found, Unit


def script() -> Path | None:
    """The file that measures: a function ``measure(quick)`` that returns rows {size, contestant, us}."""
    root = checkout()
    found = root / "benchmarks" / "streaming.py" if root else None
    return found if found and found.is_file() else None


def units(file: Path, quick: bool) -> list[Unit]:
    return [
        Unit("streaming", "streaming", 5.0 if quick else 60.0, lambda time_left: Found(_loaded(file).measure(quick)))
    ]


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("deeplstm_bench_streaming", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
