"""What docs/how-it-works.md says about products is measured on ways that give the same numbers."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import one_product
from deeplstm.bench.cases import Case
from deeplstm.bench.timing import Rounds

PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def test_every_way_is_measured_and_stands_in_the_table():
    case = Case(3, 2, 5, 1)
    found = one_product.measure([case], Rounds(1, 0.0))
    assert list(found) == [(name, case) for name in one_product.WAYS]
    rows = one_product.table(found).splitlines()
    assert rows[0] == "| products, ms | H = 5, B = 2 |"
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == list(one_product.WAYS)
    assert rows[2].endswith("(1.0x) |")


def test_a_way_with_other_numbers_is_not_timed(monkeypatch):
    monkeypatch.setitem(one_product.WAYS, "wrong", lambda lstm: lambda x: torch.zeros(*x.shape[:2], 5))
    with pytest.raises(AssertionError, match="not close"):
        one_product.measure([Case(3, 2, 5, 1)], Rounds(1, 0.0))


def test_the_page_has_the_table_of_this_command():
    """The same rows and the same cases; the numbers are those of the machine it names."""
    names = re.findall(r"^\| ([^|]+?) \| [\d.]+ \([\d.]+x\)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert names == list(one_product.WAYS)
    columns = " | ".join(f"H = {case.H}, B = {case.B}" for case in one_product.CASES)
    assert f"| products, ms | {columns} |" in PAGE.read_text("utf-8")
