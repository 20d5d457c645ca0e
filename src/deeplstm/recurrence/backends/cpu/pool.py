"""Large memory that calls use one after another.

What a training step keeps is gone when its backward is over, and the next step wants as much again. The system would take it
back in between and give it anew, cleared and page by page, which takes a third of the time of a layer-normed LSTM. So memory
that nobody outside holds waits here for the next call. What leaves a call, outputs and gradients, is never from here.
"""

from __future__ import annotations

import os
from threading import Lock

import torch
from torch import Tensor

SMALL_BYTES = 128 * 1024
"""Below it the system's allocator keeps memory by itself."""

IDLE = 64
"""How many more times memory is asked for before what nobody has used since is given back."""


class Pool:
    """Memory by size. ``limit_bytes``: how much may lie unused; more is given back at once."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held: list[_Held] = []
        self._asked = self._total = 0
        self.renew()

    def renew(self) -> None:
        """Nobody is in here: a forked child has a copy of a lock that another thread may have held."""
        self._lock = Lock()

    def take(self, size: int) -> Tensor:
        """So many bytes, (size,) uint8, of any content. They are free again when no tensor is left that views them."""
        if size < SMALL_BYTES or not self.limit_bytes or _use_count is None:
            return torch.empty(size, dtype=torch.uint8)
        rounded = _rounded(size)
        with self._lock:
            self._asked += 1
            found = next((one for one in self._held if one.size == rounded and one.is_free()), None)
            if found is None:
                found = _Held(rounded)
                self._total += rounded
            else:
                self._held.remove(found)
            self._held.append(found)  # those that have waited longest come first
            found.asked = self._asked
            memory = found.memory[:size]  # in use from here on
            if self._held[0].asked + IDLE < self._asked or self._total > self.limit_bytes:
                self._give_back()
        return memory

    def _give_back(self) -> None:
        free = [one for one in self._held if one.is_free()]
        unused = sum(one.size for one in free)
        for one in free:
            if one.asked + IDLE < self._asked or unused > self.limit_bytes:
                self._held.remove(one)
                self._total -= one.size
                unused -= one.size

    def clear(self) -> None:
        """Give back all that is unused."""
        with self._lock:
            self._held = [one for one in self._held if not one.is_free()]
            self._total = sum(one.size for one in self._held)

    @property
    def unused_bytes(self) -> int:
        return sum(one.size for one in self._held if one.is_free())


class _Held:
    def __init__(self, size: int) -> None:
        self.size, self.asked = size, 0
        self.memory = torch.empty(size, dtype=torch.uint8)
        self._storage = self.memory.untyped_storage()
        self._address = self._storage._cdata
        self._alone = self._count()

    def _count(self) -> int:
        assert _use_count is not None
        return _use_count(self._address)

    def is_free(self) -> bool:
        """Whether no other tensor has this memory, in Python or in a graph of torch's."""
        return self._count() == self._alone


_use_count = getattr(torch._C, "_storage_Use_Count", None)


def _rounded(size: int) -> int:
    """Up to one of eight sizes in each octave, so that batches that differ a little use the same memory."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


def _limit() -> int:
    asked = os.environ.get("DEEPLSTM_POOL_MB", "1024")
    if not asked.isdecimal():
        raise ValueError(
            f"DEEPLSTM_POOL_MB={asked!r} is set, a whole number of megabytes is expected: how much memory for intermediate "
            "values may lie unused between calls; 0 keeps none. Unset it or give a number."
        )
    return int(asked) * 1_000_000


POOL = Pool(_limit())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.renew)
