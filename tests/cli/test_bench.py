"""`deeplstm bench`: its options, its file, and how it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deeplstm.bench import run
from deeplstm.bench.page import BEGIN, END
from deeplstm.bench.report import Report
from deeplstm.bench.work import PARTS, Found, Settings, Unit

ROW = {"T": 1, "B": 1, "H": 1, "L": 1, "contestant": "deeplstm, cpu", "alone_ms": 1.0, "busy_ms": 3.0, "slowdown": 3.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What settings the runs had; all they measure is one row."""
    found: list[Settings] = []

    def units(settings: Settings, report: Report) -> list[Unit]:
        found.append(settings)
        return [Unit("busy", "busy", 1.0, lambda time_left: Found([ROW]))]

    monkeypatch.setattr(run, "_units", units)
    return found


def test_options_are_settings(deeplstm: Any, asked: list[Settings], tmp_path: Path) -> None:
    status, out, err = deeplstm("bench")
    assert status == 0
    assert "Every number: runs/bench.json" in out
    assert err.startswith("1/1  busy, ")
    assert json.loads(Path("runs/bench.json").read_text())["busy"] == [ROW]
    options = ["--quick", "--cases", "0,7", "--cells", "lstm,layer-norm", "--parts", "packed,busy", "--minutes", "2.5"]
    assert deeplstm("bench", *options, "--threads", 1).status == 0
    assert Path("runs/bench-2.json").exists()
    assert deeplstm("bench", "--cells", "all").status == 0
    everything = Settings(parts=PARTS)
    some = Settings(True, ("packed", "busy"), (0, 7), ("lstm", "layer norm"), 2.5, 1)
    assert asked == [everything, some, everything]


@pytest.mark.usefixtures("asked")
def test_nothing_is_replaced_unasked(deeplstm: Any) -> None:
    Path("a.json").write_text("mine")
    status, _, err = deeplstm("bench", "--out", "a.json")
    assert status == 2
    assert "a.json exists: --resume a.json goes on with it, --overwrite replaces it" in err
    assert Path("a.json").read_text() == "mine"
    assert deeplstm("bench", "--out", "a.json", "--overwrite").status == 0


def test_it_goes_on_with_its_own_options(deeplstm: Any, asked: list[Settings]) -> None:
    assert deeplstm("bench", "--quick", "--out", "a.json").status == 0
    status, out, err = deeplstm("bench", "--resume", "a.json")
    assert status == 0
    assert err == ""
    assert "deeplstm, cpu" in out
    assert asked[0] == asked[1] == Settings(quick=True)
    status, _, err = deeplstm("bench", "--resume", "a.json", "--minutes", "7")
    assert status == 2
    assert "a run goes on with those it was begun with" in err


def test_stopped_it_says_how_to_go_on(deeplstm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(time_left: bool) -> Found:
        raise KeyboardInterrupt

    two = [Unit("busy", "busy", 1.0, lambda time_left: Found([ROW])), Unit("busy", "again", 1.0, stop)]
    monkeypatch.setattr(run, "_units", lambda settings, report: two)
    status, _, err = deeplstm("bench", "--quick", "--out", "a.json")
    assert status == 130
    assert "a.json has what was measured; deeplstm bench --resume a.json goes on." in err
    assert json.loads(Path("a.json").read_text())["busy"] == [ROW]


@pytest.mark.usefixtures("asked")
def test_a_page_is_written_and_what_it_does_not_say_is(deeplstm: Any) -> None:
    Path("page.md").write_text(f"{BEGIN}\n{END}\n")
    status, _, err = deeplstm("bench", "--quick", "--write", "page.md")
    assert status == 0
    assert "| 3 x" in re.sub(" +", " ", Path("page.md").read_text())
    assert "page.md does not say what limits this row: a second busy process" in err


def test_failures_are_a_status(deeplstm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit("busy", "busy", 1.0, lambda time_left: Found(failed=["busy: off by 1"]))
    monkeypatch.setattr(run, "_units", lambda settings, report: [unit])
    status, _, err = deeplstm("bench", "--quick")
    assert status == 1
    assert "busy: off by 1; nothing is timed that is not right." in err
