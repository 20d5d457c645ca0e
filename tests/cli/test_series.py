"""The commands on tables: what they are for, and one clear line for whatever is wrong."""

import csv
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.small import SHORT, SMALL, TABLE
from cli.test_bad_input import contents, cut, fails, newer, nonsense
from cli.test_inspect import data_in


def test_train_makes_a_run_and_says_what_it_came_to(deeplstm, table: Path):
    status, out, err = deeplstm("train", "series", table, "--out", "run", *SMALL, *SHORT, "--data.test", table)
    assert status == 0
    assert "column 'hour' is left out: line 2 is '0:00', no number" in err
    assert "run: 360 rows to train on, 40 to validate on" in err
    assert "parameters, 6 steps of 4 x 10 rows" in err
    for row in ("train", "valid", "test", "parameters", "steps", "speed"):
        assert re.search(rf"^{row} ", out, re.MULTILINE)
    assert 'as before: what saying "as in the row before" comes to' in out
    assert "predictions.png" in out
    assert Path("run/predictions.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("run/scores.json").read_text())["test"]["rows"] == 399


def test_numbers_of_the_table_are_those_of_evaluate(deeplstm, table: Path):
    _, out, _ = deeplstm("train", "series", table, "--out", "run", *SMALL, *SHORT, "--data.test", table)
    (in_table,) = re.findall(r"^test +(.*)$", out, re.MULTILINE)
    status, out, _ = deeplstm("evaluate", "run", table, "--quiet")
    assert status == 0
    assert in_table.split() in [line.split()[-len(in_table.split()) :] for line in out.splitlines()]
    assert re.search(r"^sun +[\d.]+ +[\d.]+ +[\d.]+ % +[\d.]+ +[\d.]+$", out, re.MULTILINE)
    (naive,) = re.findall(r"^rain .* ([\d.]+)$", out, re.MULTILINE)
    rain = np.array([float(line.split(",")[2]) for line in TABLE.splitlines()[1:]])
    assert float(naive) == pytest.approx(np.abs(np.diff(rain)).mean(), rel=1e-3)


def test_without_out_a_free_name_under_runs(deeplstm, table: Path):
    for name in ("table", "table-2"):
        assert deeplstm("train", "series", table, *SMALL, *SHORT, "--quiet") == (0, "", "")
        assert Path("runs", name, "scaler.json").exists()


def test_options_and_a_config_file_reach_the_run(deeplstm, table: Path, series: Path):
    options = ["--data.columns", "rain,sun", "--data.targets", "sun", "--model.gate-layers", "4", "--training.steps", 2]
    assert deeplstm("train", "series", table, "--config", series / "config.toml", "--out", "run", *options).status == 0
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["task"] == "series"
    assert config["data"]["columns"] == ["rain", "sun"]
    assert config["data"]["targets"] == ["sun"]
    assert (config["model"]["width"], config["model"]["gate_layers"]) == (8, [4])
    assert (config["training"]["steps"], config["training"]["window"]) == (2, 10)
    fails(
        deeplstm("train", "text", "--config", "run/config.toml"), "run/config.toml is of the task 'series'; 'text' was"
    )


def test_a_name_with_a_comma_comes_from_a_file(deeplstm):
    Path("my.csv").write_text('"a, b",c\n' + "1,2\n3,4\n" * 50)
    Path("my.toml").write_text('[data]\ncolumns = ["a, b"]\n')
    assert deeplstm("train", "series", "my.csv", "--config", "my.toml", "--out", "run", *SMALL, *SHORT).status == 0
    assert [column["name"] for column in json.loads(Path("run/scaler.json").read_text())["columns"]] == ["a, b"]


def test_resume_longer(deeplstm, series: Path):
    fails(deeplstm("resume", series), "series is complete", "--epochs or --steps")
    status, out, _ = deeplstm("resume", series, "--steps", 9)
    assert status == 0
    assert re.search(r"^steps +9,", out, re.MULTILINE)


def test_resume_finishes_what_comes_after_the_last_step(deeplstm, series: Path):
    for name in ("scores.json", "predictions.png", "loss.png"):
        (series / name).unlink()
    assert deeplstm("resume", series, "--quiet").status == 0
    for name in ("scores.json", "predictions.png", "loss.png"):
        assert (series / name).exists()


def test_forecast(deeplstm, table: Path, series: Path):
    status, out, err = deeplstm("forecast", series, table, "--steps", 5)
    assert (status, err) == (0, "")
    header, *rows = list(csv.reader(out.splitlines()))
    assert header == ["sun", "rain"]
    assert np.array(rows, float).shape == (5, 2)
    status, said, _ = deeplstm("forecast", series, table, "--steps", 5, "--out", "next.csv")
    assert (status, said) == (0, f"next.csv: 5 rows after the 400 of {table}.\n")
    assert Path("next.csv").read_text() == out
    fails(
        deeplstm("forecast", series, table, "--steps", 5, "--out", "next.csv"), "next.csv exists already", "--overwrite"
    )
    assert deeplstm("forecast", series, table, "--steps", 6, "--out", "next.csv", "--overwrite").status == 0
    assert deeplstm("evaluate", series, "next.csv", "--quiet").status == 0  # it is a table like the other


def test_a_series_run_writes_no_text_and_a_text_run_reads_no_table(deeplstm, table: Path, series: Path, run: Path):
    fails(deeplstm("generate", series), "series is a series run, which has no text to write", "deeplstm forecast")
    fails(
        deeplstm("forecast", run, table, "--steps", 3), "run is a text run, which reads no table", "deeplstm generate"
    )
    fails(deeplstm("inspect", series, "--text", table), "is a series run: give --data FILE in place of --text")
    fails(deeplstm("inspect", run, "--data", table), "is a text run: give --text FILE in place of --data")


def test_a_page_about_a_run_and_its_validation_rows(deeplstm, series: Path):
    status, out, err = deeplstm("inspect", series)
    assert (status, err) == (0, "")
    assert f"{series / 'report.html'}: 39 rows, 0.1 MB. Open it in a browser." in out.replace("\n", " ")
    data = data_in(series / "report.html")
    assert data["title"] == "series"
    assert [one["name"] for one in data["features"]] == ["sun", "rain", "sun, predicted", "rain, predicted"]


def test_a_megabyte_of_rows_is_cut_with_a_word_about_it(deeplstm, trained_series: Path):
    header, *lines = TABLE.splitlines(keepends=True)
    Path("big.csv").write_text(header + "".join(lines) * 130)
    assert Path("big.csv").stat().st_size > 1_000_000
    status, out, _ = deeplstm("inspect", trained_series, "--data", "big.csv", "--out", "page.html")
    assert status == 0
    assert "Of big.csv the first 2,001 rows are read." in out
    assert data_in(Path("page.html"))["steps"]["count"] == 2000
    assert Path("page.html").stat().st_size < 6_000_000
    assert deeplstm("inspect", trained_series, "--data", "big.csv", "--out", "p.html", "--steps", 50).status == 0
    assert data_in(Path("p.html"))["steps"]["count"] == 50


def test_a_run_that_is_shared_has_neither_curves_nor_rows(deeplstm, series: Path, table: Path):
    for path in [*series.iterdir(), *series.rglob("*.npy")]:
        if path.name not in ("config.toml", "scaler.json", "weights.safetensors") and path.is_file():
            path.unlink()
    fails(
        deeplstm("inspect", series), "holds no validation rows (data/valid.npy): give a table to read with --data FILE."
    )
    assert deeplstm("inspect", series, "--data", table).status == 0
    assert data_in(series / "report.html")["loss"] is None
    assert deeplstm("evaluate", series, table, "--quiet").status == 0
    assert deeplstm("forecast", series, table, "--steps", 2).status == 0


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty, but a table is expected"),
        (b"sun,wind\n1,2\n3,4\n", "lacks columns: 'rain' is not among them"),
        (b"sun,rain\n1,2\n3,x\n", "column 'rain', line 3 is 'x', no number"),
        (b"sun,rain\n1,2\n3,\n", "column 'rain', line 3 is empty"),
        (b"sun,rain\n1,2\n3,nan\n", "column 'rain', line 3 is NaN"),
        (b"sun,rain\n1,2\n3,1e39\n", "column 'rain', line 3 is beyond 3.4e+38"),
    ],
)
def test_tables(content: bytes | None, part: str, deeplstm, trained_series: Path):
    if content is not None:
        Path("my.csv").write_bytes(content)
    fails(deeplstm("evaluate", trained_series, "my.csv", "--quiet"), "my.csv", part)
    fails(deeplstm("inspect", trained_series, "--data", "my.csv", "--out", "page.html"), "my.csv", part)
    fails(deeplstm("forecast", trained_series, "my.csv", "--steps", 3), "my.csv", part)
    assert not Path("page.html").exists()


def test_a_table_that_cannot_be_trained_on(deeplstm, tmp_path: Path):
    Path("short.csv").write_text("a\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n")
    Path("words.csv").write_text("a,b\nx,y\nz,w\n")
    before = sorted(tmp_path.iterdir())
    for name, part in [
        ("short.csv", "The training table has 18 rows, but 8 streams with one window of 48 steps"),
        ("words.csv", "words.csv has no column of numbers"),
    ]:
        status, out, err = deeplstm("train", "series", name, "--out", "run")
        assert (status, out) == (2, "")
        assert part in err
    assert sorted(tmp_path.iterdir()) == before


READ, RESUME = ["evaluate", "RUN", "TABLE", "--quiet"], ["resume", "RUN", "--steps", "9", "--quiet"]
INSPECT = ["inspect", "RUN"]


@pytest.mark.parametrize(
    ("tokens", "file", "damage", "part"),
    [
        (READ, "config.toml", newer, "has format 99; this version reads up to 1"),
        (RESUME, "config.toml", nonsense, "is not a TOML file"),
        (READ, "scaler.json", Path.unlink, "cannot be read"),
        (READ, "scaler.json", cut, "is damaged"),
        (INSPECT, "scaler.json", nonsense, "is damaged"),
        (READ, "weights.safetensors", Path.unlink, "does not exist: this run has not been validated yet"),
        (READ, "weights.safetensors", cut, "is damaged or no safetensors file"),
        (RESUME, "data/train.npy", Path.unlink, "cannot be read"),
        (RESUME, "data/train.npy", cut, "is damaged"),
        (INSPECT, "data/valid.npy", nonsense, "is damaged"),
        (RESUME, "resume.ckpt", cut, "is damaged"),
        (RESUME, "metrics.csv", nonsense, "cannot be read as a table of metrics"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) and "." in value else None),
)
def test_damaged_run(
    tokens: list[str], file: str, damage: Callable[[Path], None], part: str, deeplstm, series: Path, table: Path
):
    damage(series / file)
    before = contents(series)
    line = fails(deeplstm(*[{"RUN": series, "TABLE": table}.get(token, token) for token in tokens]), part)
    assert str(series / file) in line
    assert contents(series) == before


def test_a_run_of_a_newer_version_is_not_called_of_another_task(deeplstm, series: Path):
    config = series / "config.toml"
    config.write_text(config.read_text().replace("format = 1", "format = 99").replace('"series"', '"labels"'))
    for command in ("inspect", "resume", "generate"):
        fails(deeplstm(command, series), "has format 99; this version reads up to 1. Install a newer deeplstm.")
