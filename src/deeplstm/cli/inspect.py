"""`deeplstm inspect`: one page about a trained network."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deeplstm.errors import InputError


def inspect(
    run: Path,
    *,
    text: Path | None = None,
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
        Text file, UTF-8, to watch it read; none: its validation text.
    out:
        The page. None: report.html in the run's folder.
    steps:
        Characters, words or bytes of the text, at most.
    overwrite:
        Replace the page if it exists.
    """
    from deeplstm.inspect.report.page import render
    from deeplstm.tasks.text.report import report
    from deeplstm.training.files import write_atomic
    from deeplstm.training.surroundings import threads

    out = run / "report.html" if out is None else out
    _check_free(run, out, overwrite)
    with threads(1):  # one stream of text is too little to share
        data = report(run, text, steps=steps)
    page = render(data).encode()
    write_atomic(out, page)
    for note in data["notes"]:
        print(note)
    print(
        f"{out}: {data['steps']['count']:,} {data['steps']['unit']}s, {len(page) / 1e6:.1f} MB. Open it in a browser."
    )
    return 0


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
