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
        call: runs a context; returns a status.
        pointer: what ``call`` takes.
        context: in which entry ``at`` is the mailbox of the thread that helps, 0 for none.
    """

    def __init__(self, call: Callable[[Any], int], pointer: Any, context: Any, at: int) -> None:
        other = helper()
        self._call, self._pointer, self._context, self._at = call, pointer, context, at
        self._mailbox, self._asleep, self._wake = other.address, other.asleep, other.wake
        context[at] = other.address

    def __call__(self, steps: int = 1) -> int:
        if self._asleep.value:
            self._wake()
        return self._call(self._pointer)


class Shared(Always):
    """Shared while that saves time."""

    def __init__(self, call: Callable[[Any], int], pointer: Any, context: Any, at: int) -> None:
        super().__init__(call, pointer, context, at)
        self._took: deque[float] = deque(maxlen=ALONE)  # the last calls that were done alone, ns a step
        self._pause, self._credit, self._until = FIRST_PAUSE, 0.0, 0.0
        self._pause_for(ALONE)

    def __call__(self, steps: int = 1) -> int:
        if self._left:
            return self._do_alone(steps)
        start = perf_counter_ns()
        if self._asleep.value:
            self._wake()
        status = self._call(self._pointer)
        now = perf_counter_ns()
        self._credit += self._worth - (now - start) / steps
        if self._credit > self._most:
            self._credit = self._most
        if self._credit < 0:
            self._pause_for(max(ALONE, min(self._pause, int(LONGEST_PAUSE_NS / max(self._alone, 1.0)))))
            self._pause, self._credit = min(2 * self._pause, LONGEST_PAUSE), 0.0
        elif now > self._until:
            self._pause_for(ALONE)
            self._pause = FIRST_PAUSE
        return status

    def _pause_for(self, calls: int) -> None:
        """Do so many calls alone."""
        self._left, self._context[self._at] = calls, 0

    def _do_alone(self, steps: int) -> int:
        self._left -= 1
        if self._left >= ALONE:  # the last of them are those that count
            return self._call(self._pointer)
        start = perf_counter_ns()
        status = self._call(self._pointer)
        now = perf_counter_ns()
        self._took.append((now - start) / steps)
        if self._left == 0:
            self._alone = median(self._took)
            self._worth, self._most = WORTH * self._alone, MOST * self._alone
            self._credit, self._until = max(self._credit, START * self._alone), now + TURN_NS
            self._context[self._at] = self._mailbox
        return status
