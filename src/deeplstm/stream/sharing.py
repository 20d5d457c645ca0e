"""Whether a step's columns are shared with a second thread: where it is faster, found out as it goes.

With a core to spare two threads read large weights twice as fast. On a busy machine a thread that has begun with its part may
lose its core, and the step waits for it. So steps are timed, shared ones have a credit to lose, and they are weighed again and
again against steps done alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

from ..recurrence.backends.cpu.streaming.helper import helper

ALONE = 7
"""Calls done alone before shared ones, whose median says how long that takes."""
TURN_NS = 2e8
"""Shared calls go on for so long before some are done alone again: it may take less time now than it did."""
START, MOST = 8, 64
"""What shared calls have to lose at first, and at most later, in times a call takes alone."""
WORTH = 0.95
"""A shared call must take less than this of the time it takes alone, or it loses the difference."""
FIRST_PAUSE = 16
"""Calls done alone after the credit was lost; twice as many each further time."""
LONGEST_PAUSE, LONGEST_PAUSE_NS = 1 << 16, 5e8
"""But not more than these: then the machine may be another one."""


class Always:
    """Runs a kernel, shared however long it takes: what is asked for with ``threads=2``.

    Args:
        call: runs the context at an address; returns a status.
        context: in which entry ``at`` is the mailbox of the thread that helps, 0 for none.
    """

    def __init__(self, call: Callable[[int], int], address: int, context: Any, at: int) -> None:
        self._call, self._address, self._context, self._at = call, address, context, at

    def __call__(self, steps: int = 1) -> int:
        other = helper()
        with other.free:
            return self._shared(other)

    def _shared(self, other: Any) -> int:
        other.wake()
        self._context[self._at] = other.address
        try:
            return self._call(self._address)
        finally:
            self._context[self._at] = 0


class Shared(Always):
    """Shared while that saves time."""

    def __init__(self, call: Callable[[int], int], address: int, context: Any, at: int) -> None:
        super().__init__(call, address, context, at)
        self._took: deque[float] = deque(maxlen=ALONE)  # the last calls that were done alone, ns a step
        self._left, self._pause = ALONE, FIRST_PAUSE
        self._alone = self._credit = self._until = 0.0

    def __call__(self, steps: int = 1) -> int:
        if self._left > 0:
            return self._timed_alone(steps)
        other = helper()
        if not other.free.acquire(blocking=False):
            return self._call(self._address)
        try:
            start = perf_counter_ns()
            status = self._shared(other)
            now = perf_counter_ns()
        finally:
            other.free.release()
        self._weigh((now - start) / steps, now)
        return status

    def _timed_alone(self, steps: int) -> int:
        start = perf_counter_ns()
        status = self._call(self._address)
        now = perf_counter_ns()
        self._took.append((now - start) / steps)
        self._left -= 1
        if self._left == 0:
            self._alone = median(self._took)
            self._credit, self._until = max(self._credit, START * self._alone), now + TURN_NS
        return status

    def _weigh(self, taken: float, now: int) -> None:
        alone = self._alone
        self._credit = min(self._credit + WORTH * alone - taken, MOST * alone)
        if self._credit < 0:
            self._left = max(ALONE, min(self._pause, int(LONGEST_PAUSE_NS / max(alone, 1.0))))
            self._pause, self._credit = min(2 * self._pause, LONGEST_PAUSE), 0.0
        elif now > self._until:
            self._left, self._pause = ALONE, FIRST_PAUSE
