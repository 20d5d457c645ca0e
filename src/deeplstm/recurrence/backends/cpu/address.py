"""A place in memory whose beginning is known when a kernel is called."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """So many bytes from where a piece of memory begins, which goes by a name."""

    memory: str
    bytes: int = 0

    def __add__(self, more: int) -> Address:  # type: ignore[override]
        return Address(self.memory, self.bytes + more)
