"""Whether a step's columns are shared between two threads: where it is faster, found out as it goes.

With a core to spare two threads read large weights twice as fast. On a busy machine the second one gets no turn, and a step
that waits for it takes a hundred times as long. So steps are timed: after one that was no faster, many are done alone.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import perf_counter_ns
from typing import Any

FIRST_ALONE = 8
"""Steps done alone at the start, to know how long that takes."""
FIRST_PAUSE = 256
"""Steps done alone after a shared one that was too slow; twice as many after the next."""
LONGEST_PAUSE_NS = 5e8
"""But not for longer than this: then the machine may be another one."""
WORTH = 0.9
"""A shared step must take less than this of the time it takes alone."""
CONTENT = 256
"""Shared steps without a slow one after which the pauses are short again."""

_pool = Lock()  # one stream at a time: what two of them would share are the same cores


class Shared:
    """Runs a kernel, shared or alone.

    Args:
        call: runs the context at an address; returns a status.
        context: in which entry ``at`` says whether the work is shared.
    """

    def __init__(self, call: Callable[[int], int], address: int, context: Any, at: int) -> None:
        self._call, self._address, self._context, self._at = call, address, context, at
        self.alone_ns = float("inf")
        self.alone, self.pause, self.good = FIRST_ALONE, FIRST_PAUSE, 0

    def __call__(self, steps: int = 1) -> int:
        if self.alone > 0 or not _pool.acquire(blocking=False):
            self._context[self._at] = 0
            start = perf_counter_ns()
            status = self._call(self._address)
            # the shortest, forgotten slowly
            self.alone_ns = min(self.alone_ns * 1.01, (perf_counter_ns() - start) / steps)
            self.alone -= steps
            return status
        try:
            self._context[self._at] = 1
            start = perf_counter_ns()
            status = self._call(self._address)
            taken = (perf_counter_ns() - start) / steps
        finally:
            _pool.release()
        if taken > WORTH * self.alone_ns:
            longest = max(FIRST_ALONE, int(LONGEST_PAUSE_NS / self.alone_ns))
            self.alone = min(self.pause, longest)
            self.pause, self.good = min(2 * self.pause, longest), 0
        else:
            self.good += 1
            if self.good == CONTENT:
                self.pause = FIRST_PAUSE
        return status


class Always(Shared):
    """Shared however long it takes: what is asked for with ``threads=2``."""

    def __call__(self, steps: int = 1) -> int:
        with _pool:
            self._context[self._at] = 1
            return self._call(self._address)
