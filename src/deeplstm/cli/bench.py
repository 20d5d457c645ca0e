"""`deeplstm bench`: how fast this library is here, beside others."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deeplstm.bench.work import MINUTES, PARTS, Settings
from deeplstm.errors import InputError

Flag = Parameter(negative=())


def bench(
    *,
    quick: Annotated[bool, Flag] = False,
    parts: tuple[str, ...] = PARTS,
    cases: tuple[int, ...] | None = None,
    cells: tuple[str, ...] | None = None,
    minutes: float = MINUTES,
    threads: int | None = None,
    examples: Path | None = None,
    out: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    resume: Path | None = None,
    write: Path | None = None,
) -> int:
    """Measure speed beside torch's own LSTM, plain loops, torch.compile, JAX and ONNX Runtime, on this machine.

    Everything is checked before it is timed: outputs, states and gradients. What is not installed is left out, and said so.
    Every number goes to a JSON file as soon as it is measured; tables are printed at the end.

    Parameters
    ----------
    quick:
        One tiny size and few turns, to see that everything works: numbers mean nothing.
    parts:
        Some of the parts.
    cases:
        Numbers of sizes of the grid, 0 to 7. Left out: all.
    cells:
        Cells, such as lstm,layer-norm,deep-gates. Left out, or all: all.
    minutes:
        About how long it may take. Says for how many sizes torch compiles steps; after it what is slow is left out.
    threads:
        CPU threads. Left out: torch's own choice.
    examples:
        Folder of cells that are in no package. Left out: examples/cells of a checkout.
    out:
        JSON file. Left out: a new one under runs.
    overwrite:
        Replace an existing file.
    resume:
        A file of a run that was interrupted: measures the rest, with the options it was begun with.
    write:
        A page to put the tables into, between its two markers.
    """
    given = (quick, parts != PARTS, cases, cells, minutes != MINUTES, threads, examples, out, overwrite)
    if resume is not None and any(value not in (None, False) for value in given):
        raise InputError("--resume is given beside other options, but a run goes on with those it was begun with.")
    settings = Settings(
        quick=quick,
        parts=parts,
        cases=cases,
        cells=None if cells == ("all",) or cells is None else tuple(name.replace("-", " ") for name in cells),
        minutes=minutes,
        threads=threads,
        examples=None if examples is None else str(examples),
    )
    path = resume or out or _free(Path("runs", "bench.json"))
    if resume is None and path.exists() and not overwrite:
        raise InputError(f"{path} exists: --resume {path} goes on with it, --overwrite replaces it.")
    return _measured(settings, path, resume is not None, write)


def _measured(settings: Settings, path: Path, goes_on: bool, write: Path | None) -> int:
    from deeplstm.bench import run, summary, tables
    from deeplstm.bench.page import Page

    page = None if write is None else Page(write)
    try:
        report = run.resume(path, _say, page) if goes_on else run.begin(path, settings, _say, page)
    except KeyboardInterrupt:
        if not path.exists():
            raise
        raise KeyboardInterrupt(
            f"Stopped. {path} has what was measured; deeplstm bench --resume {path} goes on."
        ) from None
    print(f"{tables.text(report.data)}\n\nEvery number: {path}")
    for failure in report.failed:
        _say(f"{failure}; nothing is timed that is not right.")
    if page is not None:
        short = [target.what for target in summary.targets(report.data) if target.reached is False]
        for row in page.without_note(short):
            _say(f"{write} does not say what limits this row: {row}")
    return 1 if report.failed else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _free(wanted: Path) -> Path:
    """`wanted` itself, or the first of `-2`, `-3`, ... that does not exist yet."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path
