"""A quick run from end to end: what is checked is timed, what is not right is not, and JSON, tables and page agree."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import first_call, grid, page
from deeplstm.bench.cases import GRID, QUICK, Case
from deeplstm.bench.cells import LSTM
from deeplstm.bench.contestants import COMPILED, DROP_IN, LOOP, OURS, PEER, Contestant, plain

FAST = ["--quick", "--threads", "1", "--parts", "grid", "--cells", "lstm"]


@pytest.fixture
def threads() -> object:
    """A run sets torch's threads, which the tests after it should not see."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "why_not_jax", lambda: "JAX scan: not in this test")


@pytest.mark.usefixtures("threads", "no_jax")
def test_a_quick_run_writes_and_prints_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, written = tmp_path / "new" / "bench.json", tmp_path / "page.md"
    written.write_text(f"# Page\n\nBefore.\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter.\n")
    arguments = ["--quick", "--threads", "1", "--cells", "lstm,peephole", "--parts", "grid,packed,busy"]
    assert bench.main([*arguments, "--out", str(out), "--write", str(written)]) == 0
    report = json.loads(out.read_text())
    assert report["format"] == bench.FORMAT
    assert report["threads"] == 1
    assert report["torch"] == torch.__version__
    assert any(line.startswith(COMPILED) for line in report["left_out"])
    keys = [(row["cell"], row["contestant"], row["mode"]) for row in report["rows"]]
    assert len(set(keys)) == len(keys) == 2 * (4 + 2)
    times = {key: row["ms"] for key, row in zip(keys, report["rows"], strict=True)}
    for row in report["rows"]:
        peer = PEER if row["cell"] == LSTM else LOOP
        assert row["times_as_fast"] == pytest.approx(times[row["cell"], peer, row["mode"]] / row["ms"])
        assert row["peak_share"] == pytest.approx(row["gflops"] / report["peak_gflops"])
        assert (row.get("kept_bytes", 0) > 0) == (row["mode"] == "training" and row["contestant"] != LOOP)
    assert {row["contestant"] for row in report["packed"]} == {PEER, DROP_IN, OURS}
    assert {row["contestant"] for row in report["busy"]} == {PEER, OURS}
    printed = capsys.readouterr().out
    assert f"| {times[LSTM, LOOP, 'training']:.2f} |" in re.sub(" +", " ", printed)
    assert str(out) in printed
    text = written.read_text()
    assert text.startswith("# Page\n\nBefore.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert f"{times[LSTM, LOOP, 'training']:.2f}" in text


def test_first_calls_are_timed_in_processes_with_the_same_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = []

    def in_a_process(cells: list[str], env: dict[str, str]) -> dict[str, float]:
        caches.append(Path(env["DEEPLSTM_CACHE"]))
        assert caches[-1].is_dir()
        return dict.fromkeys(cells, float(len(caches)))

    monkeypatch.setattr(first_call, "_in_a_process", in_a_process)
    (lstm, highway) = first_call.measure(["lstm", "highway"])
    assert (lstm["first_s"], lstm["again_s"]) == (1, 2)
    assert highway["cell"] == "highway"
    assert caches[0] == caches[1]


def test_a_first_call_is_timed_in_a_new_process() -> None:
    seconds = first_call._in_a_process(["gru torch form"], dict(os.environ))
    assert seconds.keys() == {"gru torch form"}
    assert seconds["gru torch form"] > 0


@pytest.mark.usefixtures("threads", "no_jax")
def test_wrong_results_are_not_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_off(cell: str, case: Case, *, compiled: bool, jax: bool) -> list[Contestant]:
        field = plain(case)
        run = field[2].run
        field[2].run = lambda x: [1.1 * run(x)[0], *run(x)[1:]]
        return field

    monkeypatch.setattr(grid, "contestants", one_off)
    out = tmp_path / "bench.json"
    assert bench.main([*FAST, "--out", str(out)]) == 1
    assert re.search(rf"lstm, {LOOP}: .* is off by .*; nothing is timed that is not right", capsys.readouterr().err)
    report = json.loads(out.read_text())
    assert len(report["failed"]) == 1
    assert {row["contestant"] for row in report["rows"]} == {PEER, DROP_IN, OURS}


@pytest.mark.usefixtures("threads", "no_jax")
def test_a_run_short_of_time_leaves_slow_ones_out_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert bench.main([*FAST, "--minutes", "1e-9", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert {row["contestant"] for row in report["rows"]} == {PEER, DROP_IN, OURS}
    assert any(LOOP in line and str(QUICK[0]) in line for line in report["left_out"])


def test_options_name_cases_cells_and_parts() -> None:
    options = bench._parser().parse_args(["--cases", "0,7", "--cells", "lstm,layer-norm", "--parts", "packed,busy"])
    assert options.cases == [GRID[0], GRID[7]]
    assert options.cells == ["lstm", "layer norm"]
    assert options.parts == ["packed", "busy"]


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("--cases", "8", r"numbers from 0 to 7 are expected"),
        ("--cells", "lstm,lsdm", r"lsdm given, some of lstm, deep-gates"),
        ("--parts", "all", r"all given, some of grid, packed"),
    ],
)
def test_wrong_options_are_named(option: str, given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench._parser().parse_args([option, given])
    assert re.search(said, capsys.readouterr().err)


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("text")
    with pytest.raises(ValueError, match=r"page\.md has no place for the tables"):
        page.write_between(file, "table")
    assert file.read_text() == "text"
