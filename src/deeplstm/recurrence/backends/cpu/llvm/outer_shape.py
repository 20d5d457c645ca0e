"""How the registers are used by products that sum over rows (`outer.py`), and how much memory they pack into."""

from __future__ import annotations

from typing import NamedTuple

from .elements import Element
from .host import Host

BLOCK_ROWS = 128
"""Rows that are packed and summed at a time."""

MANY_REGISTERS = 32

GROUP = 32
"""Panels of a that are packed at a time."""

PACKED_BYTES = 512 * 1024
"""Panels of b that are packed at a time, at most: they are read again for each panel of a, out of the second cache."""


class Shape(NamedTuple):
    """How the registers are used: ``rows`` numbers of a times ``vectors`` vectors of b.

    Attributes:
        chunk: panels of b that are packed at a time.
        has_masks: see `Host`.
    """

    rows: int
    vectors: int
    lanes: int
    chunk: int
    has_masks: bool

    @property
    def columns(self) -> int:
        """Of a panel of b."""
        return self.vectors * self.lanes

    @property
    def fillings(self) -> tuple[int, ...]:
        """Vectors of a panel that there are sums for, most first: the last panel of b may need only some."""
        return tuple(n for n in (self.vectors, self.vectors // 2) if n > 1)

    @property
    def b_size(self) -> int:
        """Elements of packed b."""
        return self.chunk * self.columns * BLOCK_ROWS

    @property
    def size(self) -> int:
        """Elements of all that is packed at a time."""
        return self.b_size + self.rows * GROUP * BLOCK_ROWS


def shape(element: Element, host: Host) -> Shape:
    """Vectors of b, a number of a, and as many rows of accumulators as there are registers left.

    With many registers there are four vectors: 10 reads for 24 multiplications, where 14 rows of two vectors have 16 for 28.
    That counts where other work shares the core.
    """
    size = 8 if element == "float64" else 4
    lanes, vectors = host.vector_bytes // size, 4 if host.registers >= MANY_REGISTERS else 2
    rows = (host.registers - vectors - 1) // vectors
    chunk = PACKED_BYTES // (BLOCK_ROWS * vectors * lanes * size)
    return Shape(rows, vectors, lanes, chunk, host.has_masks)
