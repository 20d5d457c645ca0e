"""What docs/compiler.md says about torch.compile is measured on layers that give the same numbers."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import compile as compiling
from deeplstm.bench.timing import Rounds

PAGE = Path(__file__).parents[2] / "docs" / "compiler.md"


def test_both_are_measured():
    row = compiling.measure(3, Rounds(1, 0.0), backend="eager")
    assert row.T == 3
    assert all(time > 0 for time in row)


def test_a_layer_with_other_numbers_is_not_timed(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda layer, **_: torch.nn.Sequential(torch.nn.Linear(64, 64), layer))
    with pytest.raises(AssertionError):
        compiling.measure(3, Rounds(1, 0.0))


def test_the_page_has_the_table_of_this_command():
    rows = [compiling.Row(T, 1.0, 2.0, 2.0, 3.0, 3.0) for T in compiling.STEPS]
    form = re.sub(r"\d+\.\d", r"[\\d.]+", compiling.table(rows).replace("|", r"\|"))
    assert "python -m benchmarks.compile" in PAGE.read_text("utf-8")
    assert re.search(form, PAGE.read_text("utf-8"))
