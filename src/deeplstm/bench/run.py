"""A run: what there is to measure, measured unit by unit, each kept at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from deeplstm.bench import busy, examples, first_call, grid, packed, product, streaming, tables
from deeplstm.bench.cases import GRID
from deeplstm.bench.cells import CELLS
from deeplstm.bench.contestants import COMPILED, JAX, ONNX, why_not_compiled
from deeplstm.bench.page import Page
from deeplstm.bench.peers_jax import why_not_jax
from deeplstm.bench.peers_onnx import why_not_onnx
from deeplstm.bench.report import Report
from deeplstm.bench.surroundings import surroundings
from deeplstm.bench.timing import FULL, QUICK
from deeplstm.bench.work import PARTS, Settings, Unit
from deeplstm.errors import InputError
from deeplstm.training.surroundings import threads

Say = Callable[[str], None]


def begin(path: Path, settings: Settings, say: Say, page: Page | None = None) -> Report:
    """Measure what the settings ask for into a new file. Raises: InputError for settings that name what is not there."""
    _require(settings)
    with threads(settings.threads):
        return _measure(Report.new(path, settings, surroundings()), say, page)


def resume(path: Path, say: Say, page: Page | None = None) -> Report:
    """Measure what a report lacks of what it was asked for. Raises: InputError for another machine, commit or version."""
    report = Report.open(path)
    _require(report.settings)
    with threads(report.settings.threads):
        report.require_same(surroundings())
        return _measure(report, say, page)


def _require(settings: Settings) -> None:
    """InputError with everything that is wrong with the settings."""
    wrong = []
    if unknown := [part for part in settings.parts if part not in PARTS]:
        wrong.append(f"parts {', '.join(unknown)} given, some of {', '.join(PARTS)} are expected")
    if bad := [n for n in settings.cases or () if not 0 <= n < len(GRID)]:
        given = ", ".join(map(str, bad))
        wrong.append(f"cases {given} given, numbers from 0 to {len(GRID) - 1} are expected: {sizes()}")
    if unknown := [name for name in settings.cells or () if name not in CELLS]:
        wrong.append(f"cells {', '.join(unknown)} given, some of {names()} are expected")
    if not settings.minutes > 0:
        wrong.append(f"{settings.minutes:g} minutes given, more than 0 are expected")
    if settings.threads is not None and settings.threads < 1:
        wrong.append(f"{settings.threads} threads given, 1 or more are expected")
    if wrong:
        raise InputError(f"Nothing is measured: {'; '.join(wrong)}.")
    if settings.examples is not None:
        examples.folder(settings.examples)


def sizes() -> str:
    """The numbers of the grid's sizes."""
    return ", ".join(f"{n} {case}" for n, case in enumerate(GRID))


def names() -> str:
    """The cells, as one types them."""
    return ", ".join(name.replace(" ", "-") for name in CELLS)


def _measure(report: Report, say: Say, page: Page | None) -> Report:
    settings = report.settings
    todo = _units(settings, report)
    rest = [unit for unit in todo if not report.has(unit)]
    report.data["units"] = len(todo)
    spent = expected = 0.0
    for unit in rest:
        start = monotonic()
        try:
            found = unit.measure(report.seconds < 60 * settings.minutes)
        except Exception as error:  # whatever it is, the rest of an hour is still measured, and it is said
            reason = next(iter(str(error).strip().splitlines()), "")
            report.fail(unit, f"{unit.name}: {type(error).__name__} was raised: {reason}")
        else:
            report.add(unit, found, monotonic() - start)
        if page is not None:
            page.write(tables.text(report.data))
        spent, expected = spent + monotonic() - start, expected + unit.seconds
        left = sum(other.seconds for other in rest[rest.index(unit) + 1 :]) * spent / expected
        say(
            f"{len(report.data['done'])}/{len(todo)}  {unit.name}, {monotonic() - start:.0f} s; about {_clock(left)} left"
        )
    report.save()
    if page is not None:
        page.write(tables.text(report.data))
    return report


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"


def _units(settings: Settings, report: Report) -> list[Unit]:
    """All that the settings ask for, and in the report what is not there to be measured."""
    report.forget_left_out()
    rounds = QUICK if settings.quick else FULL
    found: list[Unit] = []
    if "grid" in settings.parts:
        found += grid.units(settings, _peers(settings, report), rounds)
    if "examples" in settings.parts:
        where = examples.folder(settings.examples)
        if where is None:
            report.leave_out(
                "examples", "they are part of the repository, not of the package; --examples FOLDER names them"
            )
        else:
            found += examples.units(where, settings.quick, rounds)
    if "packed" in settings.parts:
        found += packed.units(settings.quick, rounds)
    if "streaming" in settings.parts:
        file = streaming.script()
        if file is None:
            report.leave_out("streaming", "benchmarks/streaming.py of the repository, which measures it, is not here")
        else:
            found += streaming.units(file, settings.quick, rounds)
    if "first-call" in settings.parts:
        cells = grid.chosen(settings)[1]
        found += first_call.units(cells[:1] if settings.quick else cells)
    if "busy" in settings.parts:
        found += busy.units(settings.quick, rounds)
    if "product" in settings.parts:
        found += product.units(settings.quick, rounds)
    return found


def _peers(settings: Settings, report: Report) -> grid.Peers:
    """Who takes part; in the report, who does not and why."""
    reasons = {
        COMPILED: "compiling takes half a minute a cell, --quick has none" if settings.quick else why_not_compiled(),
        JAX: why_not_jax(),  # after torch's number of threads is set
        ONNX: why_not_onnx(),
    }
    for name, why in reasons.items():
        if why:
            report.leave_out(name, why)
    cases = grid.chosen(settings)[0]
    if not reasons[COMPILED] and (not_there := [case for case in cases if case not in grid.to_compile(settings)]):
        why = (
            f"torch compiles half a minute for each cell and size, and the run is to take {settings.minutes:g} minutes"
        )
        for case in not_there:
            report.leave_out(COMPILED, why, str(case))
    return grid.Peers(*(not reasons[name] for name in (COMPILED, JAX, ONNX)))
