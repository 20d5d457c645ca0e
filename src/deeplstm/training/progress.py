"""How far a training is: one bar over all its steps on a terminal, a plain line now and then elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


class Display(ABC):
    """Where a training says how far it is, between `start` and `stop`."""

    def start(self, step: int, total: int) -> None:
        self._first, self._total, self._began = step, total, time.monotonic()

    def update(self, step: int, text: str) -> None:
        """Step `step` is done; `text` says what was measured."""
        per_step = (time.monotonic() - self._began) / max(1, step - self._first)
        left = timedelta(seconds=round(per_step * (self._total - step)))
        self._draw(step, f"{text}  {left} left")

    def stop(self) -> None:
        """Nothing follows."""

    @abstractmethod
    def say(self, text: str) -> None:
        """A message of its own, kept in view."""

    @abstractmethod
    def _draw(self, step: int, text: str) -> None: ...


def display(quiet: bool) -> Display:
    """What fits: nothing, a bar, or lines; on stderr, which leaves stdout to results."""
    if quiet:
        return Silence()
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()


class Silence(Display):
    """For callers that asked for quiet."""

    def say(self, text: str) -> None:
        pass

    def _draw(self, step: int, text: str) -> None:
        pass


class Bar(Display):
    """A bar that stays in place, with the latest numbers beside it."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), TextColumn("{task.completed}/{task.total}  {task.description}"))
        # Redrawing twice a second is plenty for a training, and leaves the cores to it.
        self._progress = Progress(*columns, console=console, refresh_per_second=2)

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        self._task = self._progress.add_task("", total=total, completed=step)
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def _draw(self, step: int, text: str) -> None:
        self._progress.update(self._task, completed=step, description=text)


class Lines(Display):
    """A line every ten seconds, for log files; the last step always."""

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        self._written = time.monotonic()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _draw(self, step: int, text: str) -> None:
        now = time.monotonic()
        if step == self._total or now - self._written >= SECONDS_BETWEEN_LINES:
            self._written = now
            self.say(f"step {step}/{self._total}  {text}")
