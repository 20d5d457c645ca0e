"""The benchmark checks what it times, times what it says, and its JSON and tables hold the same numbers."""

import json
import re
import time
from pathlib import Path

import pytest
import torch
from benchmarks.check import ERROR, disagreement
from benchmarks.contestants import PEER, Case, Contestant, deepened, plain
from benchmarks.surroundings import markdown
from benchmarks.timing import take_turns
from torch import nn

from benchmarks import __main__ as bench

CASE = Case(5, 3, 8, 2)


def test_a_quick_run_writes_and_prints_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "bench.json"
    assert bench.main(["--quick", "--threads", "1", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["format"] == 1
    assert report["threads"] == 1
    assert report["torch"] == torch.__version__
    assert report["left_out"]
    keys = [(row["cell"], row["contestant"], row["mode"]) for row in report["rows"]]
    assert len(set(keys)) == len(keys) == 2 * 6
    times = {key: row["ms"] for key, row in zip(keys, report["rows"], strict=True)}
    for row in report["rows"]:
        assert row["times_as_fast"] == pytest.approx(times["LSTM", PEER, row["mode"]] / row["ms"])
    printed = capsys.readouterr().out
    assert f"| {times['LSTM', 'plain loop', 'training']:.2f} |" in re.sub(" +", " ", printed)
    assert str(out) in printed


def test_wrong_results_are_not_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_weight_off(case: Case, *, compiled: bool) -> list[list[Contestant]]:
        field = plain(case)
        with torch.no_grad():
            field[-1].parameters["weight_hh_l1"][0, 0] += 0.1
        return [field]

    monkeypatch.setattr(bench, "contestants", one_weight_off)
    out = tmp_path / "bench.json"
    assert bench.main(["--quick", "--threads", "1", "--out", str(out)]) == 1
    assert re.search(r"LSTM, \S+.* is off by .*; nothing is timed that is not right", capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize("part", ["y", "state", "gradient"])
def test_the_check_sees_every_kind_of_result(part: str) -> None:
    right, wrong = plain(CASE)[0], plain(CASE)[0]
    for name, weight in wrong.parameters.items():
        weight.data.copy_(right.parameters[name])
    run = wrong.run

    def broken(x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        y, (h, c) = run(x)
        if part == "y":
            y = y + 0.001 * y.detach()
        elif part == "state":
            c = c + 0.001 * c.detach()
        else:
            y = y + 0.001 * (y - y.detach())
        return y, (h, c)

    assert disagreement([right, wrong], CASE)[0] < ERROR
    wrong.run = broken
    error, where = disagreement([right, wrong], CASE)
    assert ERROR < error < 0.1
    assert where.startswith(f"{PEER}: " + {"y": "y", "state": "c", "gradient": "d"}[part])


def test_deeper_cells_are_another_recurrence_than_the_lstm() -> None:
    plain_parameters = sum(weight.numel() for weight in plain(CASE)[0].parameters.values())
    for options in ({"norm": True}, {"gate_layers": (16,)}):
        (loop,) = deepened("deeper", CASE, compiled=False, **options)
        assert sum(weight.numel() for weight in loop.parameters.values()) > plain_parameters


def test_times_are_medians_in_milliseconds_of_calls_taken_in_turns() -> None:
    order = []
    sleeps = {"short": 0.002, "long": 0.006}

    def contestant(name: str) -> Contestant:
        def run(x: torch.Tensor) -> tuple[torch.Tensor, object]:
            order.append(name)
            time.sleep(sleeps[name])
            return x, None

        return Contestant("cell", name, run, {"w": nn.Parameter(torch.zeros(1))})

    times = take_turns([contestant("short"), contestant("long")], CASE, "inference", rounds=3, round_seconds=0.0)
    assert 2 <= times["cell", "short"].median < 6 <= times["cell", "long"].median < 60
    assert times["cell", "long"].lower <= times["cell", "long"].median <= times["cell", "long"].upper
    turns = [name for n, name in enumerate(order) if n == 0 or order[n - 1] != name]
    assert turns == ["short", "long"] * (len(turns) // 2)
    assert len(turns) >= 2 * 3


def test_a_table_lines_up_and_puts_numbers_to_the_right() -> None:
    lines = markdown(["name", "ms"], [["a", "1.5"], ["long name", "12.25"]]).splitlines()
    assert lines == [
        "| name      |    ms |",
        "|-----------|------:|",
        "| a         |   1.5 |",
        "| long name | 12.25 |",
    ]
    assert len({len(line) for line in lines}) == 1
