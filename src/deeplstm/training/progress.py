"""How far something long is: one bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


class Display(ABC):
    """Where something long says how far it is, between `start` and `stop`."""

    def start(self, done: int, total: int) -> None:
        self._first, self._total, self._began = done, total, time.monotonic()

    def update(self, done: int, text: str) -> None:
        """`done` of the total, in whatever it is counted; `text` says what was measured."""
        each = (time.monotonic() - self._began) / max(1, done - self._first)
        left = timedelta(seconds=round(each * (self._total - done)))
        self._draw(done, f"{text}  {left} left")

    def stop(self) -> None:  # noqa: B027 - most have nothing to put away
        """Nothing follows."""

    @abstractmethod
    def say(self, text: str) -> None:
        """A message of its own, kept in view."""

    @abstractmethod
    def _draw(self, done: int, text: str) -> None: ...


@contextmanager
def showing(quiet: bool, what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to be called with what is done and what there is to do; it shows both on a display of its own."""
    shown = display(quiet, passing=True)
    started = False

    def hear(done: int, total: int) -> None:
        nonlocal started
        if not started:
            shown.start(0, total)
            started = True
        shown.update(done, what)

    try:
        yield hear
    finally:
        shown.stop()


def display(quiet: bool, *, passing: bool = False) -> Display:
    """What fits: nothing, a bar (one in passing goes when it is full), or lines; on stderr, stdout is for results."""
    if quiet:
        return Silence()
    console = Console(stderr=True)
    return Bar(console, passing) if console.is_terminal else Lines()


class Silence(Display):
    """For callers that asked for quiet."""

    def say(self, text: str) -> None:
        pass

    def _draw(self, done: int, text: str) -> None:
        pass


class Bar(Display):
    """A bar that stays in place, with the latest numbers beside it."""

    def __init__(self, console: Console, passing: bool) -> None:
        columns = (BarColumn(), TextColumn("{task.completed:,}/{task.total:,}  {task.description}", markup=False))
        # Redrawing twice a second is plenty for a training, and leaves the cores to it.
        self._progress = Progress(*columns, console=console, transient=passing, refresh_per_second=2)

    def start(self, done: int, total: int) -> None:
        super().start(done, total)
        self._task = self._progress.add_task("", total=total, completed=done)
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def _draw(self, done: int, text: str) -> None:
        self._progress.update(self._task, completed=done, description=text)


class Lines(Display):
    """A line every ten seconds, for log files."""

    def start(self, done: int, total: int) -> None:
        super().start(done, total)
        self._written = self._began

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _draw(self, done: int, text: str) -> None:
        now = time.monotonic()
        if now - self._written >= SECONDS_BETWEEN_LINES:
            self._written = now
            self.say(f"{done:,}/{self._total:,}  {text}")
