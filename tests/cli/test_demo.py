"""`make demo`, with fewer steps."""

import importlib.util
import re
from pathlib import Path

import pytest

from deeplstm.tasks.text.summary import visible

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo.py"


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("demo", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    shorter = re.sub(r"(--training.steps) \d+", r"\1 1", demo.OPTIONS)
    smaller = re.sub(r"(--model.width) \d+", r"\1 8", shorter).replace("valid-fraction 0.02", "valid-fraction 0.0001")
    monkeypatch.setattr(demo, "OPTIONS", smaller)

    (tmp_path / "run").mkdir()
    assert demo.demo(Path("run")) == 0
    out = capfd.readouterr().out
    assert "run exists already, so this run goes to run-2." in out
    assert visible((tmp_path / "run-2" / "sample.txt").read_text("utf-8")).strip() in out
    assert "deeplstm generate run-2 --prompt" in out
    assert re.search(r"run-2/report.html: \d+ characters, .* MB. Open it in a browser.", out)
    assert "What a unit follows" in (tmp_path / "run-2" / "report.html").read_text("utf-8")
