"""A page of the documentation: tables that a run writes, and text that it leaves alone.

Below the tables stands, written by hand, what limits each row. A run says which rows lack it, and keeps it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from deeplstm.errors import InputError
from deeplstm.training.files import write_atomic

BEGIN, END = "<!-- measured: deeplstm bench --write -->", "<!-- end of measured -->"
_NOTE = re.compile(r"^[-*] \*\*(.+?)\*\*", re.MULTILINE)


class Page:
    """A file with a place for tables. Raises: InputError for one without."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts()

    def write(self, text: str) -> None:
        """Put a text between the two markers, in place of what is there."""
        before, after = self._parts()
        write_atomic(self.path, f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}".encode())

    def without_note(self, rows: Sequence[str]) -> list[str]:
        """The rows of which the page does not say what limits them: no ``- **beginning of the row**`` fits."""
        notes = _NOTE.findall("".join(self._parts()))
        return [row for row in rows if not any(row.startswith(note) for note in notes)]

    def _parts(self) -> tuple[str, str]:
        """What stands before and after the tables, as it is now: it may be edited while a run goes on."""
        before, found, rest = self.path.read_text(encoding="utf-8").partition(BEGIN)
        _, closed, after = rest.partition(END)
        if not found or not closed:
            raise InputError(
                f"{self.path} has no place for the tables: the two lines {BEGIN!r} and {END!r} are expected in it."
            )
        return before, after
