import io
import re

import pytest
from rich.console import Console

from deeplstm.training import progress
from deeplstm.training.progress import Bar, Lines, Silence, display, showing


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_line_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    lines.start(1000, 3000)
    for step in range(1001, 3001):
        clock.now += 0.01
        lines.update(step, "loss 1.5")
    lines.say("done")
    assert capsys.readouterr().err.splitlines() == [
        "2,000/3,000  loss 1.5  0:00:10 left",
        "3,000/3,000  loss 1.5  0:00:00 left",
        "done",
    ]


def test_bar(clock: Clock):
    written = io.StringIO()
    bar = Bar(Console(file=written, force_terminal=True, width=100), passing=False)
    bar.start(0, 200)
    clock.now += 60
    bar.update(50, "loss 1.5  [bold]")
    bar.say("a [red]message")
    bar.stop()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    assert "50/200  loss 1.5  [bold]  0:03:00 left" in text
    assert "a [red]message" in text


def test_display_that_fits(monkeypatch: pytest.MonkeyPatch):
    assert isinstance(display(quiet=True), Silence)
    assert isinstance(display(quiet=False), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(display(quiet=False), Bar)


def test_showing(clock: Clock, capsys: pytest.CaptureFixture[str]):
    with showing(False, "bytes") as hear:
        for done in (0, 400, 1000):
            clock.now += 6
            hear(done, 1000)
    assert capsys.readouterr().err == "1,000/1,000  bytes  0:00:00 left\n"
