"""The rows of a run in files: what a resumed run reads is what it read, whatever became of the table."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplstm.errors import InputError
from deeplstm.tasks.series.config import SeriesData
from deeplstm.tasks.series.metrics import Rows
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.series.table import Table, read_table
from deeplstm.training.files import write_atomic

LEAST = 2
"""Rows of a part: one to read and one to predict."""


class Split(NamedTuple):
    """The parts of a table in standard units; the test part only where a table for it is given."""

    train: Rows
    valid: Rows
    test: Rows | None


def split(table: Table, data: SeriesData) -> tuple[Split, Scaler]:
    """Cut a table in two, and read those beside it, in standard units.

    Without a validation table, the last `valid_fraction` of the rows become it.

    Raises: InputError for targets that are no columns, tables that cannot be read, and too few rows.
    """
    held_out = 0 if data.valid else round(len(table) * data.valid_fraction)
    kept = len(table) - held_out
    if kept < LEAST or (not data.valid and held_out < LEAST):
        raise InputError(
            f"{table.file} has {len(table):,} rows, {kept:,} to train on and {held_out:,} to validate on, but each part needs "
            f"{LEAST}: give a longer table or another valid_fraction (now {data.valid_fraction})."
        )
    scaler = Scaler.of(table, kept, data.targets)
    valid = table.values[kept:] if data.valid is None else _part(data.valid, scaler).values
    test = None if data.test is None else _part(data.test, scaler).values
    return Split(
        scaler.standard(table.values[:kept]), scaler.standard(valid), None if test is None else scaler.standard(test)
    ), scaler


def _part(file: Path, scaler: Scaler) -> Table:
    table = read_table(file, scaler.names)
    if len(table) < LEAST:
        raise InputError(f"{file} has 1 row, but a row is predicted from one before it: give {LEAST} or more.")
    return table


def save_rows(rows: Rows, path: Path) -> None:
    """Write rows as NumPy's own file of float32."""
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    write_atomic(path, content.getbuffer())


def load_rows(path: Path, scaler: Scaler) -> Rows:
    """Rows that `save_rows` wrote, left on the disk until they are read; nothing in the file is executed.

    Raises: InputError for a file that is missing, cut short, or not rows of the scaler's columns.
    """
    advice = "restore it from a copy of the run."
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be read (No such file or directory): {advice}") from None
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}): {advice}") from None
    expected = f"float32 of (rows, {len(scaler.columns)})"
    if not isinstance(rows, np.ndarray):
        raise InputError(f"{path} holds something else than an array, but {expected} is expected: {advice}")
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != len(scaler.columns) or len(rows) < LEAST:
        raise InputError(f"{path} holds {rows.dtype} of {rows.shape}, but {expected} is expected: {advice}")
    return rows
