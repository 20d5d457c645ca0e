"""Reading tables of numbers, CSV or Parquet, and saying in one line why one cannot be read."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeplstm.errors import InputError
from deeplstm.tasks.files import check_files, unreadable
from deeplstm.training.options import joined

LARGEST = float(np.finfo(np.float32).max)
"""Beyond it there are no float32 numbers, which networks compute with."""
_NAMED = 20


@dataclass(frozen=True)
class Table:
    """The columns of a file that are read, row by row in time.

    Shapes: values (rows, columns) float64, every number finite and within float32's range.
    """

    file: Path
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    left_out: dict[str, str]
    """Columns that are no numbers, where none were chosen -> why not."""

    def __len__(self) -> int:
        return len(self.values)


def read_table(file: str | os.PathLike[str], columns: Sequence[str] = ()) -> Table:
    """Read a table: a CSV file with a header and commas, or a Parquet file.

    A number is written as Python writes one, blanks around it allowed. A column of something else (times, names) is left out
    where `columns` are not chosen, with the reason in `Table.left_out`.

    Args:
        file: its name ends in .parquet if it is one; any other is read as CSV.
        columns: names of the columns to read, in this order; none: every column of numbers, in the file's order.

    Raises: InputError with everything that is wrong, each with file, column and first row: a file or column that is missing,
        text in a chosen column, empty fields, NaN, infinite numbers and those beyond float32's 3.4e38.
    """
    file = Path(file)
    check_files([file], "table")
    try:
        with open(file, "rb") as opened:  # not by name, which polars may take for a pattern or an address
            frame = _read_parquet(opened) if _is_parquet(file) else _read_csv(opened, file)
    except OSError as error:
        raise InputError(unreadable(file, error)) from error
    except pl.exceptions.PolarsError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{file} cannot be read as {_kind(file)}: {first}") from None
    if not frame.height:
        raise InputError(f"{file} has no row of numbers below its header, but a table is expected: give one with rows.")
    if missing := [name for name in columns if name not in frame.columns]:
        raise InputError(joined(f"{file} lacks columns", [_missing(name, frame.columns) for name in missing]))
    return _numbers(file, frame, columns)


def _numbers(file: Path, frame: pl.DataFrame, chosen: Sequence[str]) -> Table:
    """The columns of a table as numbers, those chosen or all that are."""
    complaints: list[str] = []
    found: dict[str, NDArray[np.float64]] = {}
    left_out: dict[str, str] = {}
    for name in chosen or frame.columns:
        numbers, strange = _as_numbers(frame[name])
        if strange is not None:
            why = f"{_row(file, strange)} is {_shown(frame[name][strange])}, no number"
            if chosen:
                complaints.append(f"column {name!r}, {why}: leave the column out, or correct it")
            left_out[name] = why
        elif numbers.null_count() == len(numbers) and not chosen:
            left_out[name] = "it is empty"
        else:
            complaints += _unfit(file, name, numbers)
            found[name] = numbers.to_numpy().astype(np.float64, copy=False)
    if not found and not complaints:
        reasons = [f"column {name!r}, {why}" for name, why in left_out.items()]
        raise InputError(
            joined(f"{file} has no column of numbers (they are parted by commas, and a header names them)", reasons)
        )
    if complaints:
        raise InputError(joined(f"{file} cannot be used", complaints))
    return Table(file, tuple(found), np.stack(list(found.values()), axis=1), {} if chosen else left_out)


def _as_numbers(column: pl.Series) -> tuple[pl.Series, int | None]:
    """A column in float64, and the first row that is no number, if there is one. An empty field is null, and none."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64), None
    if column.dtype != pl.String:
        there = column.is_not_null()
        return column, there.arg_max() if there.any() else None
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(pl.Float64, strict=False)
    strange = numbers.is_null() & text.is_not_null()
    return numbers, strange.arg_max() if strange.any() else None


def _unfit(file: Path, name: str, numbers: pl.Series) -> list[str]:
    """What a network cannot read in a column of numbers: the first row of each kind."""
    tests = [
        ("empty", numbers.is_null(), "fill in or drop such rows"),
        ("NaN", numbers.is_nan(), "fill in or drop such rows"),
        ("infinite", numbers.is_infinite(), "fill in or drop such rows"),
        (
            f"beyond {LARGEST:.3g}, the largest float32",
            numbers.is_finite() & (numbers.abs() > LARGEST),
            "give the column in a larger unit",
        ),
    ]
    return [
        f"column {name!r}, {_row(file, int(where.arg_max() or 0))} is {what}, one of {int(where.sum()):,}: {advice}"
        for what, where, advice in tests
        if where.any()
    ]


def _read_csv(opened: BinaryIO, file: Path) -> pl.DataFrame:
    """Every field as text: a guess at types from the first rows would fail at, or change, the others."""
    header = pl.read_csv(opened, has_header=False, infer_schema=False, n_rows=1).row(0)
    names = ["" if name is None else str(name) for name in header]
    if "" in names or len(set(names)) < len(names):
        twice = sorted({name for name in names if name and names.count(name) > 1})
        wrong = [f"{name!r} is there twice" for name in twice] + ["a column has no name"] * ("" in names)
        raise InputError(
            joined(f"{file} has a header that cannot be used", [f"{one}: name each once" for one in wrong])
        )
    opened.seek(0)
    return pl.read_csv(opened, has_header=True, infer_schema=False)


def _read_parquet(opened: BinaryIO) -> pl.DataFrame:
    return pl.read_parquet(opened)


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _kind(file: Path) -> str:
    return "Parquet" if _is_parquet(file) else "CSV, with commas and a header"


def _row(file: Path, row: int) -> str:
    """What a row is called: in CSV its line, behind the header's."""
    return f"row {row + 1:,}" if _is_parquet(file) else f"line {row + 2:,}"


def _missing(name: str, known: Sequence[str]) -> str:
    """What to say of a column that is not there: the nearest name, or the first of those there are."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"{name!r} is not among them; did you mean {close[0]!r}?"
    more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
    return f"{name!r} is not among them; known: {', '.join(map(repr, known[:_NAMED]))}{more}."


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:40] + "...")
