"""Ctrl-C in two steps: the first asks the training to stop where it can save, the second stops it at once."""

import signal
import threading
from collections.abc import Callable
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user stopped the training; the message says how to go on, `status` is the exit status that shells expect."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StopNow(BaseException):
    """A second Ctrl-C. (Lightning takes a KeyboardInterrupt as its own and exits with status 1.)"""


class Interruption:
    """Listens for SIGINT and SIGTERM between `listen` and `stop`; `signal` is the one that came."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.signal: int | None = None
        self._say = say
        self._previous: dict[int, Any] = {}

    @property
    def status(self) -> int:
        return 128 + (self.signal or 0)

    def listen(self) -> None:
        """Take the signals over; again, if somebody else has taken them since."""
        # Python delivers signals to the main thread only; training in another one is stopped by its program.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.signal(number, self._received)
                self._previous.setdefault(number, previous)

    def stop(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _received(self, number: int, frame: Any) -> None:
        if self.signal is not None:
            raise StopNow
        self.signal = number
        self._say("Stopping after this step; once more stops at once, without saving.")
