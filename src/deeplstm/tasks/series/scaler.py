"""scaler.json: the columns that a network reads, in their order, and what makes numbers of size 1 of them."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeplstm.errors import InputError
from deeplstm.tasks.series.table import Table
from deeplstm.training.files import write_atomic
from deeplstm.training.options import joined

_FORMAT = 1


@dataclass(frozen=True)
class Column:
    """One column: a number x of it is (x - mean) / deviation to the network."""

    name: str
    mean: float
    deviation: float
    target: bool
    """Whether it is predicted."""


@dataclass(frozen=True)
class Scaler:
    """Every column that a network reads, in its order.

    (1) standard = (own - mean) / deviation        (2) own = standard * deviation + mean

    Mean and standard deviation are those of the training rows, computed in float64; a column that never changes there has the
    deviation 1. ("own": in the unit that the column has in its table.)
    """

    columns: tuple[Column, ...]
    left_out: dict[str, str]
    """Columns of the training table that are no numbers -> why not."""

    @classmethod
    def of(cls, table: Table, rows: int, targets: Sequence[str] = ()) -> "Scaler":
        """The scaler of the first `rows` of a table.

        Args:
            targets: names of the columns that are predicted; none: all of them.

        Raises: InputError with every target that is no column.
        """
        complaints = []
        for name in targets:
            if name not in table.columns:
                why = f" ({table.left_out[name]})" if name in table.left_out else ""
                complaints.append(
                    f"{name!r} is no column that is read{why}: choose of {', '.join(map(repr, table.columns))}"
                )
        if complaints:
            raise InputError(joined(f"{table.file} lacks targets", complaints))
        training = table.values[:rows]
        still = training.max(axis=0) == training.min(axis=0)  # whose standard deviation is rounding, not always 0
        means = np.where(still, training[0], training.mean(axis=0))
        deviations = np.where(still, 1.0, training.std(axis=0))
        return cls(
            tuple(
                Column(name, float(mean), float(deviation), not targets or name in targets)
                for name, mean, deviation in zip(table.columns, means, deviations, strict=True)
            ),
            table.left_out,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def targets(self) -> tuple[int, ...]:
        """Numbers of the columns that are predicted."""
        return tuple(n for n, column in enumerate(self.columns) if column.target)

    @property
    def target_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.target)

    def standard(self, own: NDArray[Any]) -> NDArray[np.float32]:
        """(1), computed in float64.

        Shapes: (rows, columns) -> the same.
        Raises: InputError for another number of columns, and for numbers that float32 does not have then.
        """
        if own.ndim != 2 or own.shape[1] != len(self.columns):
            raise InputError(
                f"A table of shape {own.shape} is given, but (rows, {len(self.columns)}) is expected, with the columns "
                f"{', '.join(self.names)}."
            )
        means, deviations = _both(self.columns)
        with np.errstate(over="ignore", invalid="ignore"):
            standard = ((own.astype(np.float64) - means) / deviations).astype(np.float32)
        finite = np.isfinite(standard)
        if not finite.all():
            names = ", ".join(name for n, name in enumerate(self.names) if not finite[:, n].all())
            raise InputError(
                f"The numbers of {names} are NaN, infinite, or too far from those that the network was trained on for float32: "
                "give a table like that one."
            )
        return standard

    def own(self, standard: NDArray[Any]) -> NDArray[np.float64]:
        """(2), of predictions. Shapes: (..., targets) -> the same."""
        return _own(standard, self.target_columns)

    def own_columns(self, standard: NDArray[Any]) -> NDArray[np.float64]:
        """(2), of rows. Shapes: (..., columns) -> the same."""
        return _own(standard, self.columns)

    def save(self, path: Path) -> None:
        content = {
            "format": _FORMAT,
            "columns": [vars(column) for column in self.columns],
            "left_out": self.left_out,
        }
        write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Scaler":
        """Read a scaler.

        Raises: InputError that names the file if it is missing, damaged, or something else.
        """
        try:
            content = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): {_ADVICE}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged ({error}): {_ADVICE}") from error
        if complaint := _complaint(content):
            raise InputError(f"{path} is no scaler ({complaint}): {_ADVICE}")
        columns = [Column(c["name"], float(c["mean"]), float(c["deviation"]), c["target"]) for c in content["columns"]]
        return cls(tuple(columns), content["left_out"])


def _own(standard: NDArray[Any], columns: Sequence[Column]) -> NDArray[np.float64]:
    means, deviations = _both(columns)
    own: NDArray[np.float64] = standard.astype(np.float64) * deviations + means
    return own


def _both(columns: Sequence[Column]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations, (columns,) each."""
    return np.array([column.mean for column in columns]), np.array([column.deviation for column in columns])


_ADVICE = "restore it from a copy of the run."


def _complaint(content: Any) -> str | None:
    """What is wrong with the content of a file, if anything."""
    if not isinstance(content, dict) or not {"format", "columns", "left_out"} <= set(content):
        return "format, columns and left_out are expected in it"
    if type(content["format"]) is not int or content["format"] != _FORMAT:
        return f"format {content['format']!r}, this version reads format {_FORMAT}"
    left_out, columns = content["left_out"], content["columns"]
    if not isinstance(left_out, dict) or not all(isinstance(why, str) for why in left_out.values()):
        return "left_out is no table of texts"
    if not isinstance(columns, list) or not columns:
        return "columns is no list of columns"
    for number, column in enumerate(columns, start=1):
        if complaint := _complaint_about_column(column):
            return f"column {number}: {complaint}"
    if len({column["name"] for column in columns}) < len(columns):
        return "a column is there twice"
    return None if any(column["target"] for column in columns) else "no column is a target"


def _complaint_about_column(column: Any) -> str | None:
    if not isinstance(column, dict) or set(column) != {"name", "mean", "deviation", "target"}:
        return "name, mean, deviation and target are expected"
    if not isinstance(column["name"], str) or not isinstance(column["target"], bool):
        return "name is no text, or target neither true nor false"
    for name in ("mean", "deviation"):
        value = column[name]  # a bool is an int to Python; a whole number may be beyond all floats
        if type(value) not in (int, float) or not -1e300 < value < 1e300 or math.isnan(value):
            return f"{name}={value!r} is no finite number"
    return None if column["deviation"] > 0 else f"deviation={column['deviation']!r} is not above 0"
