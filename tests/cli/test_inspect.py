"""`deeplstm inspect`: a page from a run, and what it says where there can be none."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.small import TEXT


def data_in(page: Path) -> dict:
    """What the page was drawn from."""
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    return json.loads(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fails(said, *parts: str) -> None:
    assert said.status == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("deeplstm: ")
    for part in parts:
        assert part in said.err


def test_a_page_about_a_run_and_its_validation_text(deeplstm, run: Path):
    status, out, err = deeplstm("inspect", run, "--steps", 50)
    assert (status, err) == (0, "")
    page = run / "report.html"
    assert f"{page}: 50 characters, 0.1 MB. Open it in a browser." in out.replace("\n", " ")
    data = data_in(page)
    assert "".join(data["steps"]["pieces"]) == TEXT[-172:][:50]
    assert data["title"] == "run"
    assert data["about"] == "LSTM, one layer of 8 units, reading the first 50 characters of its validation text"
    assert data["notes"] == []
    assert data["loss"]["train"]["x"][-1] == 6
    assert [layer["name"] for layer in data["memory"]["layers"]] == ["layer 1", "whole model"]


def test_a_text_of_ones_own_and_a_name_of_ones_own(deeplstm, trained: Path):
    Path("my.txt").write_text("to be")
    status, _, _ = deeplstm("inspect", trained, "--text", "my.txt", "--out", "page.html")
    assert status == 0
    assert data_in(Path("page.html"))["steps"]["pieces"] == list("to be")
    assert "reading my.txt" in Path("page.html").read_text("utf-8")
    assert not (trained / "report.html").exists()


def test_a_table_is_nothing_for_a_text_run(deeplstm, trained: Path):
    Path("my.csv").write_text("a,b\n1,2\n")
    for more in ((), ("--text", "my.csv")):
        said = deeplstm("inspect", trained, "--data", "my.csv", "--out", "page.html", *more)
        fails(said, "is a text run: give --text FILE in place of --data my.csv.", "deeplstm.report(model, x) in Python")
    assert not Path("page.html").exists()


def test_a_run_of_another_task(deeplstm, run: Path):
    config = run / "config.toml"
    config.write_text(config.read_text().replace('task = "text"', 'task = "weather"'))
    for command in ("inspect", "resume", "generate"):
        fails(deeplstm(command, run), f"{config} is of the task 'weather'; this version has text and series.")


def test_a_megabyte_of_text_is_cut_with_a_word_about_it(deeplstm, trained: Path):
    Path("big.txt").write_text(TEXT * 600)
    assert Path("big.txt").stat().st_size > 1_000_000
    status, out, _ = deeplstm("inspect", trained, "--text", "big.txt", "--out", "page.html")
    assert status == 0
    assert "Of big.txt the first 2,000 characters are shown." in out
    data = data_in(Path("page.html"))
    assert data["notes"] == ["Of big.txt the first 2,000 characters are shown."]
    assert data["steps"]["count"] == 2000
    assert Path("page.html").stat().st_size < 6_000_000


def test_a_run_that_is_shared_has_neither_curves_nor_text(deeplstm, run: Path):
    shutil.rmtree(run / "data")
    (run / "metrics.csv").unlink()
    fails(deeplstm("inspect", run), "holds no validation text (data/valid.bin): give a text to read with --text FILE.")
    Path("my.txt").write_text("not to be")
    assert deeplstm("inspect", run, "--text", "my.txt").status == 0
    assert data_in(run / "report.html")["loss"] is None
    assert "How it learned" not in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize("loss", ["nan", "inf", ""])
def test_a_loss_that_no_curve_can_have_is_left_out_and_said(loss: str, deeplstm, run: Path):
    header, first, *rows = (run / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,")
    fields = first.split(",")
    other = [*fields]
    other[header.split(",").index("loss")] = loss
    other[0] = str(int(fields[0]) - 1)
    (run / "metrics.csv").write_text("\n".join([header, ",".join(other), first, *rows, ""]))
    status, out, _ = deeplstm("inspect", run, "--steps", 20)
    note = "The curves leave out what is no finite number in metrics.csv: 1 loss."
    data = data_in(run / "report.html")
    assert (status, data["notes"]) == (0, [note])
    assert note in out
    assert int(other[0]) not in data["loss"]["train"]["x"]
    assert "nan" not in data["loss"]["about"]


def test_no_loss_that_a_curve_can_have(deeplstm, run: Path):
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    columns = [n for n, name in enumerate(lines[0]) if "loss" in name]
    for line in lines[1:]:
        for n in columns:
            line[n] = "nan"
    (run / "metrics.csv").write_text("\n".join([*map(",".join, lines), ""]))
    assert deeplstm("inspect", run, "--steps", 20).status == 0
    data = data_in(run / "report.html")
    assert data["notes"][0].startswith("The curves leave out what is no finite number in metrics.csv: ")
    assert data["loss"] is None


def test_one_character_is_not_called_characters(deeplstm, trained: Path):
    Path("my.txt").write_text("to be")
    status, out, _ = deeplstm("inspect", trained, "--text", "my.txt", "--out", "page.html", "--steps", 1)
    assert status == 0
    assert "page.html: 1 character, " in out
    data = data_in(Path("page.html"))
    assert data["notes"] == ["Of my.txt the first 1 character is shown."]
    assert data["facts"][-1][0] == "this text, 1 character"
    assert "1 characters" not in Path("page.html").read_text("utf-8")


def test_nothing_is_overwritten_unasked(deeplstm, trained: Path):
    Path("page.html").write_text("mine")
    fails(deeplstm("inspect", trained, "--out", "page.html"), "page.html exists already", "--overwrite")
    assert Path("page.html").read_text() == "mine"
    assert deeplstm("inspect", trained, "--out", "page.html", "--overwrite", "--steps", 9).status == 0
    assert data_in(Path("page.html"))["steps"]["count"] == 9


def test_what_cannot_be_a_page(deeplstm, trained: Path):
    Path("folder").mkdir()
    fails(deeplstm("inspect", trained, "--out", "folder"), "folder is a folder", "folder/report.html")
    fails(deeplstm("inspect", trained, "--out", "no/page.html"), "no is not a folder", "make it")
    fails(deeplstm("inspect", "no-run"), "no-run does not exist; the folder of a run was expected.")
    fails(deeplstm("inspect", trained, "--out", "p.html", "--steps", 0), "steps=0, but a page shows from 1 to 10,000")
    fails(deeplstm("inspect", trained, "--out", "p.html", "--steps", 10_001), "steps=10001")
    fails(deeplstm("inspect", trained, "--out", "p.html", "--steps", "many"), "many")
    assert [path.name for path in Path().iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (
            b"\x00\x01" * 500,
            "is binary (a NUL at byte 0), but text is expected: give a text file; only a network trained",
        ),
        ("grün".encode("latin-1"), "is not UTF-8 text"),
        ("to bé ☃".encode(), "2 characters that the vocabulary of"),
    ],
    ids=["missing", "empty", "binary", "latin-1", "unseen"],
)
def test_texts(content: bytes | None, part: str, deeplstm, trained: Path):
    if content is not None:
        Path("my.txt").write_bytes(content)
    fails(deeplstm("inspect", trained, "--text", "my.txt", "--out", "page.html"), "my.txt", part)
    assert not Path("page.html").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nonsense(path: Path) -> None:
    path.write_bytes(b"\x93nonsense" * 40)


def not_a_number(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors["core.layers.0.cell.weight_hh"][0, 0] = float("nan")
    save_file(tensors, path)


def no_step(path: Path) -> None:
    header, first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, "nan" + first[first.index(",") :], *rows, ""]))


@pytest.mark.parametrize(
    ("file", "damage", "part"),
    [
        ("config.toml", Path.unlink, "it has no config.toml"),
        ("config.toml", nonsense, "is not a TOML file"),
        ("vocabulary.json", Path.unlink, "cannot be read"),
        ("vocabulary.json", cut, "is damaged"),
        ("weights.safetensors", Path.unlink, "does not exist: this run has not been validated yet"),
        ("weights.safetensors", cut, "is damaged or no safetensors file"),
        ("weights.safetensors", nonsense, "is damaged or no safetensors file"),
        ("weights.safetensors", not_a_number, "NaN or infinite values"),
        ("metrics.csv", nonsense, "metrics.csv"),
        ("metrics.csv", no_step, "metrics.csv, line 2, is 'nan,"),
        ("data/valid.bin", cut, "bytes, but valid.json speaks of"),
        ("data/valid.json", cut, "is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) and "." in value else None),
)
def test_a_damaged_run(file: str, damage: Callable[[Path], None], part: str, deeplstm, run: Path):
    damage(run / file)
    before = contents(run)
    fails(deeplstm("inspect", run), part)
    assert contents(run) == before  # nothing written, nothing lost


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(deeplstm, trained: Path):
    Path("locked").mkdir(mode=0o500)
    fails(deeplstm("inspect", trained, "--out", "locked/page.html"), "could not be written")
