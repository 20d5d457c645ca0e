"""metrics.csv: what a training measured, one row at a time, never rewritten but to be cut back to a checkpoint's step."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deeplstm.errors import InputError
from deeplstm.training.files import write_atomic

Row = dict[str, float]


class MetricsFile:
    """A table of numbers with fixed columns, the first of them `step`. A number that a row lacks is an empty field."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)

    def start(self) -> None:
        """A table without rows."""
        write_atomic(self.path, self._text([]))

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row; floats in full, so that reading them back gives the same bits."""
        line = self._line([repr(row[name]) if name in row else "" for name in self.columns])
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(line)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: {self.path} could not be written") from error

    def sync(self) -> None:
        """Let every row reach the disk before a checkpoint that counts on them does."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Keep the rows up to `step`; a resumed training writes the later ones again."""
        write_atomic(self.path, self._text([row for row in self.read() if row["step"] <= step]))

    def read(self) -> list[Row]:
        """Every row, whole numbers as int. A last line cut short (the process died writing it) is left out.

        Raises:
            InputError: the file is missing, or is not such a table; the message names the first line that is wrong.
        """
        try:
            text = self.path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path} cannot be read as a table of metrics: {error}.") from None
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if not lines or lines[0] != self.columns:
            found = ",".join(lines[0]) if lines else "nothing"
            raise InputError(
                f"{self.path} begins with {found[:200]}; the columns {','.join(self.columns)} were expected. "
                "Put this run's own file back."
            )
        rows = []
        for number, fields in enumerate(lines[1:], start=2):
            try:
                pairs = zip(self.columns, fields, strict=True)
                rows.append({name: int(text) if text.isdigit() else float(text) for name, text in pairs if text})
                if not isinstance(rows[-1]["step"], int):
                    raise ValueError("a step is a whole number")
            except (ValueError, KeyError):
                raise InputError(
                    f"{self.path}, line {number}, is {','.join(fields)[:200]!r}; {len(self.columns)} numbers were "
                    "expected. Put this run's own file back."
                ) from None
        return rows

    def _text(self, rows: Sequence[Mapping[str, float]]) -> bytes:
        lines = [[repr(row[name]) if name in row else "" for name in self.columns] for row in rows]
        return "".join(map(self._line, [self.columns, *lines])).encode()

    @staticmethod
    def _line(fields: Sequence[str]) -> str:
        return ",".join(fields) + "\n"
