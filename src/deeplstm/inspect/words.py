"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number of things, "1 step" or "2,000 steps"; ``many`` is ``one`` + "s" unless given."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
