"""Rows of all steps by name: addresses for kernels, tensors for whom asks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .pool import POOL

SKEW_BYTES = 320
"""Between values that lie in one block. Rows of a power of two would otherwise lie in the same places of the cache for all of
them, and drive each other out."""


class Space:
    """Where the rows of one call lie.

    Attributes:
        at: their addresses.
    """

    def __init__(self, like: Tensor, rows: int) -> None:
        self.like, self.rows = like, rows
        self.at: dict[str, int] = {}
        self._held: dict[str, Tensor | tuple[Tensor, int, int]] = {}

    def put(self, name: str, rows: Tensor) -> Tensor:
        """(rows, n); what kernels only read may be spread over rows that are one in memory, and is copied."""
        rows = rows.contiguous()
        self.at[name], self._held[name] = rows.data_ptr(), rows
        return rows

    def make(self, name: str, width: int, is_bool: bool = False) -> Tensor:
        """New ones, which may leave the call."""
        return self.put(name, new_rows(self.like, self.rows, width, is_bool))

    def make_block(self, columns: Sequence[tuple[str, int]]) -> Tensor:
        """New ones side by side, from memory that is used again after this call and its backward: (`block_size`,)."""
        block = _reused(self.like, block_size(self.like, self.rows, columns))
        self.put_block(block, columns)
        return block

    def put_block(self, block: Tensor, columns: Sequence[tuple[str, int]]) -> None:
        """What `make_block` gave for these."""
        base, size, start = block.data_ptr(), block.element_size(), 0
        for name, width in columns:
            self.at[name], self._held[name] = base + start * size, (block, start, width)
            start += self.rows * width + SKEW_BYTES // size

    def __contains__(self, name: str) -> bool:
        return name in self.at

    def tensor(self, name: str, column: int, width: int) -> Tensor:
        """Columns of rows, (rows, width)."""
        held = self._held[name]
        if isinstance(held, Tensor):
            return held if held.shape[1] == width else held.narrow(1, column, width)
        block, start, whole = held
        return block.as_strided((self.rows, width), (whole, 1), block.storage_offset() + start + column)


def block_size(like: Tensor, rows: int, columns: Sequence[tuple[str, int]]) -> int:
    """Elements of a block."""
    return rows * sum(width for _, width in columns) + len(columns) * (SKEW_BYTES // like.element_size())


def new_rows(like: Tensor, rows: int, width: int, is_bool: bool = False) -> Tensor:
    return like.new_empty((rows, width), dtype=torch.bool if is_bool else like.dtype)


def reused_rows(like: Tensor, rows: int, width: int) -> Tensor:
    """Likewise, from memory that is used again: these must not leave the call and its backward."""
    return _reused(like, rows * width).view(rows, width)


def _reused(like: Tensor, size: int) -> Tensor:
    size_bytes = size * like.element_size()
    return POOL.take(size_bytes)[:size_bytes].view(like.dtype)
