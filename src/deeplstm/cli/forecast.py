"""`deeplstm forecast`: the rows that follow a table, as a trained network expects them."""

import csv
import io
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deeplstm.cli.tasks import task_of
from deeplstm.errors import InputError


def forecast(
    run: Path,
    file: Path,
    *,
    steps: int,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Go on with a table: predict so many rows behind its last, each from those before it, predicted ones included.

    Parameters
    ----------
    run:
        Folder of a series run.
    file:
        Table with the columns that the network reads, CSV or Parquet.
    steps:
        Rows to predict.
    out:
        CSV file to write. None: they are printed, as CSV.
    overwrite:
        Replace the file if it exists.
    """
    if (task := task_of(run)) != "series":
        raise InputError(f"{run} is a {task} run, which reads no table. Use: deeplstm generate, evaluate or inspect.")
    if out is not None and out.exists() and not overwrite:
        raise InputError(
            f"{out} exists already and nothing is overwritten unasked: choose another name with --out, or give --overwrite."
        )
    from deeplstm.tasks.series.forecasting import forecast as rows_after
    from deeplstm.tasks.series.runs import load
    from deeplstm.tasks.series.table import read_table
    from deeplstm.training.files import write_atomic
    from deeplstm.training.surroundings import threads

    network, scaler, _ = load(run)
    table = read_table(file, scaler.names)
    with threads(1):  # one series is too little to share
        rows = rows_after(network, table.values, scaler, steps=steps)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(scaler.names)
    writer.writerows([f"{value:.7g}" for value in row] for row in rows)  # as many digits as float32 has
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_atomic(out, text.getvalue().encode())
        print(f"{out}: {len(rows):,} rows after the {len(table):,} of {file}.")
    return 0
