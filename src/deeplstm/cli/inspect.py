"""`deeplstm inspect`: one page about a trained network."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from deeplstm.cli.tasks import FILES, module_of, task_of
from deeplstm.errors import InputError


def inspect(
    run: Path,
    *,
    text: Path | None = None,
    data: Path | None = None,
    out: Path | None = None,
    steps: int = 2000,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a page that shows what a trained network does: its gates, units, weights, memory and expectations.

    The page is one HTML file, complete in itself: it opens in a browser without a network, and asks nothing of any.

    Parameters
    ----------
    run:
        Folder of the run.
    text:
        Text file, UTF-8, to watch a text run read; none: its validation text.
    data:
        Table, CSV or Parquet, to watch a series run read; none: its validation rows.
    out:
        The page. None: report.html in the run's folder.
    steps:
        Characters, words or bytes of the text, or rows of the table, at most.
    overwrite:
        Replace the page if it exists.
    """
    from deeplstm.inspect.report.page import render
    from deeplstm.inspect.words import counted
    from deeplstm.training.files import write_atomic
    from deeplstm.training.surroundings import threads

    out = run / "report.html" if out is None else out
    _check_free(run, out, overwrite)
    report, source = _reader(run, text=text, data=data)
    with threads(1):  # one sequence is too little to share
        found = report(run, source, steps=steps)
    page = render(found).encode()
    write_atomic(out, page)
    for note in found["notes"]:
        print(note)
    shown = counted(found["steps"]["count"], found["steps"]["unit"])
    print(f"{out}: {shown}, {len(page) / 1e6:.1f} MB. Open it in a browser.")
    return 0


def _reader(run: Path, **given: Path | None) -> tuple[Callable[..., dict[str, Any]], Path | None]:
    """What makes the page's data of a run of its task, and the file that this is to read."""
    task = task_of(run)
    option = FILES[task]
    for other, file in given.items():
        if other != option and file is not None:
            raise InputError(
                f"{run} is a {task} run: give --{option} FILE in place of --{other} {file}. "
                "A network of yours that reads numbers: deeplstm.report(model, x) in Python."
            )
    return module_of(task, "report").report, given[option]


def _check_free(run: Path, out: Path, overwrite: bool) -> None:
    """Whether the page can be written, before anything is computed."""
    if out.is_dir():
        raise InputError(
            f"{out} is a folder, but a file for the page is expected: give for example {out / 'report.html'}."
        )
    if out.exists() and not overwrite:
        raise InputError(
            f"{out} exists already and nothing is overwritten unasked: choose another name with --out, or give --overwrite."
        )
    if out.parent != run and not out.parent.is_dir():
        raise InputError(
            f"{out.parent} is not a folder, so {out.name} cannot be written into it: make it, or choose another."
        )
