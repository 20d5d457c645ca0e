"""A quick run from end to end: what is checked is timed, what is not right is not, and JSON, tables and page agree."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from deeplstm import InputError
from deeplstm.bench import examples, first_call, grid, run, streaming, surroundings, tables
from deeplstm.bench.cases import GRID, QUICK, Case
from deeplstm.bench.cells import LSTM
from deeplstm.bench.contestants import COMPILED, DROP_IN, LOOP, OURS, PEER, RECOMPUTE, Contestant, plain
from deeplstm.bench.page import BEGIN, END, Page
from deeplstm.bench.peak import speed
from deeplstm.bench.report import FORMAT, Report
from deeplstm.bench.summary import targets
from deeplstm.bench.work import Found, Settings

FAST = Settings(quick=True, threads=1, parts=("grid",), cells=(LSTM,))


@pytest.fixture(autouse=True)
def no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "why_not_jax", lambda: "not in this test")
    monkeypatch.setattr(run, "why_not_onnx", lambda: "not in this test")


def begin(out: Path, settings: Settings = FAST, page: Page | None = None, said: list[str] | None = None) -> Any:
    return run.begin(out, settings, (said if said is not None else []).append, page)


def saved(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def test_a_quick_run_writes_and_shows_every_number(tmp_path: Path) -> None:
    out, written = tmp_path / "new" / "bench.json", tmp_path / "page.md"
    written.write_text(f"# Page\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    before, said = torch.get_num_threads(), []
    settings = Settings(quick=True, threads=1, parts=("busy", "packed", "grid", "product"), cells=(LSTM, "peephole"))
    report = begin(out, settings, Page(written), said)
    assert report.failed == []
    assert torch.get_num_threads() == before
    data = saved(out)
    assert data["format"] == FORMAT
    assert data["threads"] == 1
    assert data["torch"] == torch.__version__
    assert COMPILED in [entry["what"] for entry in data["left_out"]]
    keys = [(row["cell"], row["contestant"], row["mode"]) for row in data["rows"]]
    assert len(set(keys)) == len(keys) == 2 * (4 + 2) + 1
    times = {key: row["ms"] for key, row in zip(keys, data["rows"], strict=True)}
    for row in data["rows"]:
        peer = PEER if row["cell"] == LSTM else LOOP
        assert row["times_as_fast"] == pytest.approx(times[row["cell"], peer, row["mode"]] / row["ms"])
        assert row["peak_share"] == pytest.approx(row["gflops"] / row["peak_gflops"])
        assert (row.get("kept_bytes", 0) > 0) == (row["mode"] == "training" and row["contestant"] != LOOP)
        assert row.get("backends") == (["torch"] if row["contestant"] == DROP_IN else None)
    kept = {row["contestant"]: row["kept_bytes"] for row in data["rows"] if "kept_bytes" in row and row["cell"] == LSTM}
    assert kept[RECOMPUTE] < kept[OURS] < kept[PEER]
    assert {row["contestant"] for row in data["packed"]} == {PEER, DROP_IN, OURS}
    assert {row["contestant"] for row in data["busy"]} == {PEER, DROP_IN, OURS}
    (product,) = data["product"]
    assert product["peak_share"] == pytest.approx(product["gflops"] / product["peak_gflops"])
    assert product["gflops"] == pytest.approx(2 * 64**3 / product["ms"] / 1e6)
    assert [line.split()[0] for line in said] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert "about 0 s left" in said[-1]
    text = written.read_text()
    assert text.startswith("# Page\n\nBefore.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert f"| {times[LSTM, LOOP, 'training']:.2f} |" in re.sub(" +", " ", text)
    assert "Not finished" not in text


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bench.json"
    measured: list[str] = []

    def measure(cell: str, case: Case, *rest: Any) -> Found:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(cell)
        row = {
            **case._asdict(),
            "cell": cell,
            "contestant": OURS,
            "mode": "training",
            "ms": 1.0,
            **speed(1e6, 1.0, 2.0),
        }
        return Found([{**row, "peer": None, "times_as_fast": None, "flop_time_beside_lstm": None}])

    monkeypatch.setattr(grid, "measure", measure)
    cells = (LSTM, "peephole", "coupled", "highway")
    with pytest.raises(KeyboardInterrupt):
        begin(out, Settings(quick=True, parts=("grid",), cells=cells))
    assert [row["cell"] for row in saved(out)["rows"]] == [LSTM, "peephole"]
    assert "Not finished: 2 of 4" in tables.text(saved(out))
    measured.clear()
    report = run.resume(out, lambda line: None)
    assert measured == ["coupled", "highway"]
    assert [row["cell"] for row in report.data["rows"]] == list(cells)
    assert saved(out) == report.data
    assert len(report.data["left_out"]) == len({entry["what"] for entry in report.data["left_out"]})


def test_it_goes_on_in_the_same_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bench.json"
    begin(out)
    monkeypatch.setattr(surroundings, "cpu_model", lambda: "another processor")
    with pytest.raises(InputError, match=r"other circumstances: cpu was .*, is another processor\. .*measure anew"):
        run.resume(out, lambda line: None)


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", '{"format": 2}', '{"format": 3}'])
def test_what_is_no_report_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    with pytest.raises(InputError, match=rf"{re.escape(str(file))} (is no report|lacks|has format 2)"):
        Report.open(file)


def test_one_that_raises_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, broken = tmp_path / "bench.json", True

    def measure(case: Case, rounds: object) -> Found:
        if broken:
            raise ZeroDivisionError("by zero\nand more")
        return Found([{**case._asdict(), "contestant": OURS, "alone_ms": 1.0, "busy_ms": 2.0, "slowdown": 2.0}])

    monkeypatch.setattr(run.busy, "measure", measure)
    report = begin(out, Settings(quick=True, parts=("busy",)))
    assert report.failed == [f"busy {QUICK}: ZeroDivisionError was raised: by zero"]
    assert saved(out)["done"] == []
    broken = False
    report = run.resume(out, lambda line: None)
    assert report.failed == []
    assert [row["slowdown"] for row in report.data["busy"]] == [2.0]


def test_wrong_results_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_off(cell: str, case: Case, **peers: bool) -> list[Contestant]:
        field = plain(case)
        right = field[2].run
        field[2].run = lambda x: [1.1 * right(x)[0], *right(x)[1:]]
        return field

    monkeypatch.setattr(grid, "contestants", one_off)
    report = begin(tmp_path / "bench.json")
    (failure,) = report.failed
    assert re.search(rf"lstm, {LOOP}: .* is off by ", failure)
    assert {row["contestant"] for row in report.data["rows"]} == {PEER, DROP_IN, OURS, RECOMPUTE}
    assert f"Failed, not timed: {failure}" in tables.text(report.data)


def test_a_run_short_of_time_calls_the_loop_once_and_says_what_it_leaves_out() -> None:
    peers = grid.Peers(compiled=True, jax=True, onnx=False)
    found = grid.measure("peephole", QUICK, peers, grid.Rounds(2, 0.0, 1.0, 1.0), time_left=False)
    assert {(row["contestant"], row["rounds"]) for row in found.rows} == {(LOOP, 1), (OURS, 2)}
    assert [what for what, _ in found.left_out] == [COMPILED, "JAX scan"]


def test_steps_are_compiled_at_as_many_sizes_as_there_is_time_for() -> None:
    assert grid.to_compile(Settings(minutes=1)) == []
    few, many = grid.to_compile(Settings(minutes=30)), grid.to_compile(Settings(minutes=600))
    assert 0 < len(few) < len(many) == len(GRID)
    assert many[: len(few)] == few
    peers, rounds = grid.Peers(compiled=True, jax=False, onnx=False), grid.Rounds(1, 0, 1, 1)
    units = {unit.name: unit.seconds for unit in grid.units(Settings(minutes=30), peers, rounds)}
    assert len(units) == 10 * len(GRID)
    uncompiled = {unit.name: unit.seconds for unit in grid.units(Settings(minutes=1), peers, rounds)}
    longer = {name for name, seconds in units.items() if seconds > uncompiled[name]}
    assert {name.split(" ")[0] for name in longer} == {str(case) for case in few}
    assert not any(name.endswith(f" {LSTM}") for name in longer)


def test_everything_left_out_for_one_reason_is_one_line() -> None:
    report = Report.new(Path("bench.json"), Settings(), {})
    for cell in ("a", "b", "c", "d"):
        report.leave_out(COMPILED, "too slow", f"(1,2,3,4) {cell}")
    report.leave_out(COMPILED, "too slow", "(5,6,7,8) a")
    (entry,) = report.data["left_out"]
    assert tables._left_out(entry) == f"{COMPILED} at (1,2,3,4); (5,6,7,8) a: too slow"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(cases=(8,)), r"cases 8 given, numbers from 0 to 7 are expected: 0 \(100,1,64,1\)"),
        (Settings(cells=("lsdm",)), r"lsdm given, some of lstm, deep-gates"),
        (Settings(parts=("all",)), r"all given, some of grid, examples"),
        (Settings(minutes=0.0), r"0 minutes given, more than 0"),
        (Settings(threads=0), r"0 threads given, 1 or more"),
        (Settings(parts=("x",), threads=0), r"parts x given.*; 0 threads"),
        (Settings(examples="nowhere"), r"nowhere has no Python files"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: Settings, said: str) -> None:
    with pytest.raises(InputError, match=said):
        begin(tmp_path / "bench.json", settings)
    assert not (tmp_path / "bench.json").exists()


def test_settings_are_read_as_they_were_written() -> None:
    settings = Settings(quick=True, cases=(1, 2), cells=("lstm",), minutes=3, examples="here")
    assert Settings.of(json.loads(json.dumps(settings.table()))) == settings
    with pytest.raises(InputError, match="cannot be read"):
        Settings.of({"slow": True})


def test_first_calls_are_timed_in_processes_with_the_same_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = []

    def in_a_process(cell: str, env: dict[str, str]) -> float:
        caches.append(Path(env["DEEPLSTM_CACHE"]))
        assert caches[-1].is_dir()
        return float(len(caches))

    monkeypatch.setattr(first_call, "_in_a_process", in_a_process)
    lstm, highway = [row for unit in first_call.units(["lstm", "highway"]) for row in unit.measure(True).rows]
    assert (lstm["cell"], lstm["first_s"], lstm["again_s"]) == ("lstm", 1, 2)
    assert (highway["cell"], highway["first_s"], highway["again_s"]) == ("highway", 3, 4)
    assert caches[0] == caches[1] != caches[2] == caches[3], "each cell begins with an empty one"


def test_a_first_call_is_timed_in_a_new_process() -> None:
    env = {**os.environ, "PYTHONPATH": first_call._path()}
    assert first_call._in_a_process("gru torch form", env) > 0


CELL = """
import torch
from torch import nn
class Leaky(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.state_size = hidden_size
        self.output_size = 2 * hidden_size
        self.new = nn.Linear(input_size + hidden_size, hidden_size)
    def forward(self, x, h):
        h = 0.5 * h + torch.tanh(self.new(torch.cat([x, h], 1)))
        return torch.cat([h, h], 1), h
"""


def test_cells_of_a_folder_are_timed_beside_their_loop(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(CELL)
    settings = Settings(quick=True, parts=("examples",), examples=str(tmp_path))
    report = begin(tmp_path / "bench.json", settings)
    assert report.failed == []
    loop, ours = report.data["examples"]
    assert (loop["cell"], loop["contestant"], ours["contestant"]) == ("Leaky", LOOP, OURS)
    assert ours["times_as_fast"] == pytest.approx(loop["ms"] / ours["ms"])
    assert "Leaky" in tables.text(report.data)


def test_a_file_of_examples_has_one_cell(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text("from torch import nn\nclass A(nn.Module): ...\nclass B(nn.Module): ...\n")
    with pytest.raises(InputError, match=r"two.py has A, B, but one module is expected"):
        examples.cell_of(file)


def test_the_ten_examples_are_found_in_a_checkout() -> None:
    where = examples.folder(None)
    assert where is not None
    rounds = grid.Rounds(1, 0.0, 1.0, 1.0)
    assert len(examples.units(where, quick=False, rounds=rounds)) == 10 * 2


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (examples, streaming):
        monkeypatch.setattr(module, "checkout", lambda: None)


@pytest.mark.usefixtures("installed")
def test_what_an_installed_package_lacks_is_left_out(tmp_path: Path) -> None:
    report = begin(tmp_path / "bench.json", Settings(quick=True, parts=("examples", "streaming")))
    assert [entry["what"] for entry in report.data["left_out"]] == ["examples", "streaming"]
    assert "--examples FOLDER" in tables.text(report.data)


def test_streaming_is_measured_by_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "streaming.py"
    file.write_text(
        "from types import SimpleNamespace as Row\n"
        "def latency(rounds, sizes):\n"
        "    return [Row(size=f'{sizes[0][0]}x{sizes[0][1]}', name='one', microseconds=7.0, floor=None)]\n"
    )
    monkeypatch.setattr(streaming, "script", lambda: file)
    report = begin(tmp_path / "bench.json", Settings(quick=True, parts=("streaming",)))
    assert report.data["streaming"] == [{"size": "1x40", "contestant": "one", "us": 7.0, "floor_us": None}]
    assert re.search(r"\| 1x40 \| one +\| +7 \| +- \|", tables.text(report.data))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    file.write_text(f"{BEGIN}\n{END}\n\n- **plain LSTM, training**: memory.\n* **a row**: work\n")
    return file


def test_notes_are_kept_and_missed(page: Path) -> None:
    Page(page).write("table")
    assert page.read_text().endswith("\n- **plain LSTM, training**: memory.\n* **a row**: work\n")
    rows = ["plain LSTM, training, worst", "plain LSTM, inference, worst", "a row"]
    assert Page(page).without_note(rows) == ["plain LSTM, inference, worst"]


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("text")
    with pytest.raises(InputError, match=r"page\.md has no place for the tables"):
        Page(file)
    assert file.read_text() == "text"


def test_performance_page_has_its_place_and_a_note_for_every_row() -> None:
    root = surroundings.checkout()
    assert root is not None
    empty = Report.new(Path("bench.json"), Settings(), {}).data
    rows = [target.what for target in targets(empty)]
    assert len(rows) > 20
    assert Page(root / "docs" / "performance.md").without_note(rows) == []


def test_a_unit_is_known_by_its_name() -> None:
    units = grid.units(Settings(), grid.Peers(True, True, True), grid.Rounds(1, 0, 1, 1))
    assert len({unit.name for unit in units}) == len(units)
