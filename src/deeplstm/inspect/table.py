"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Sequence


def lines(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """The rows with their columns aligned, numbers to the right; the first row is the head. Empty columns are left out."""
    columns = [c for c in range(len(rows[0])) if any(row[c] for row in rows[1:])]
    widths = {c: max(len(row[c]) for row in rows) for c in columns}
    right = {c for c in columns if all(_is_number(row[c]) for row in rows[1:])}
    aligned = ([row[c].rjust(widths[c]) if c in right else row[c].ljust(widths[c]) for c in columns] for row in rows)
    return [(indent + "  ".join(cells)).rstrip() for cells in aligned]


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or text[0] in "-." or text in ("inf", "nan")
