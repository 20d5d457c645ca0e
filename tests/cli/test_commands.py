"""The commands doing what they are for."""

import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.small import SHORT, SMALL
from deeplstm.tasks.text.problem import TextProblem
from deeplstm.tasks.text.runs import load


def test_train_makes_a_run_and_says_what_it_came_to(deeplstm, text: Path):
    status, out, err = deeplstm("train", "text", text, "--out", "run", *SMALL, *SHORT, "--data.test", text)
    assert status == 0
    assert {path.name for path in Path("run").iterdir()} == {
        "config.toml",
        "data",
        "loss.png",
        "metrics.csv",
        "resume.ckpt",
        "sample.txt",
        "vocabulary.json",
        "weights.safetensors",
    }
    assert "run: 1,548 characters to train on, 172 to validate on" in err
    for row in ("train", "valid", "test", "parameters", "steps", "speed"):
        assert re.search(rf"^{row} ", out, re.MULTILINE)
    assert Path("run/sample.txt").read_text().rstrip() in out
    assert Path("run/loss.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_of_the_table_are_those_of_evaluate(deeplstm, text: Path):
    _, out, _ = deeplstm("train", "text", text, "--out", "run", *SMALL, *SHORT, "--data.test", text)
    (in_table,) = re.findall(r"^test +([\d.]+) +([\d.]+) +([\d.]+) +([\d,]+)", out, re.MULTILINE)
    status, out, _ = deeplstm("evaluate", "run", text)
    assert status == 0
    (measured,) = re.findall(r" ([\d.]+) +([\d.]+) +([\d.]+) +([\d,]+)$", out.strip(), re.MULTILINE)
    assert measured == in_table
    nats, bits, perplexity, tokens = measured
    assert int(tokens.replace(",", "")) == len(text.read_text())
    assert float(bits) == pytest.approx(float(nats) / math.log(2), abs=2e-4)
    assert float(perplexity) == pytest.approx(math.exp(float(nats)), rel=1e-3)


def test_without_out_a_free_name_under_runs(deeplstm, text: Path):
    for name in ("text", "text-2"):
        status, _, err = deeplstm("train", "text", text, *SMALL, *SHORT)
        assert status == 0
        assert f"runs/{name}: " in err
        assert Path("runs", name, "config.toml").exists()


def test_without_files_it_reads_the_standard_library(deeplstm):
    status, _, err = deeplstm(
        "train", "text", *SMALL, "--training.steps", 1, "--data.level", "byte", "--data.valid-fraction", 0.001
    )
    assert status == 0
    assert re.search(r"runs/python: \d,\d{3},\d{3} bytes to train on", err)


def test_options_reach_the_run(deeplstm, text: Path):
    options = [
        "--model.gate-layers",
        "6,5",
        "--model.deep-gates",
        "forget",
        "--model.forget-bias",
        "1",
        "--level",
        "word",
    ]
    options += [
        "--training.clip-norm",
        "none",
        "--model.widths",
        "8",
        "--model.widths",
        "9",
        "--training.no-carry-state",
    ]
    status, _, _ = deeplstm(
        "train", "text", text, "--out", "run", *SHORT, *options, "--training.batch-size", 2, "--training.window", 9
    )
    assert status == 0
    table = tomllib.loads(Path("run/config.toml").read_text())
    assert table["model"]["gate_layers"] == [6, 5]
    assert table["model"]["deep_gates"] == ["forget"]
    assert table["model"]["widths"] == [8, 9]
    assert table["model"]["forget_bias"] == 1.0
    assert table["training"]["clip_norm"] == "none"
    assert table["training"]["carry_state"] is False
    network, vocabulary, config = load("run")
    assert config.model.gate_layers == (6, 5)
    assert vocabulary.level == "word"
    assert not network.training


def test_config_file_with_the_command_line_winning(deeplstm, run: Path, text: Path):
    status, _, _ = deeplstm(
        "train", "text", text, "--config", run / "config.toml", "--training.steps", 2, "--out", "other"
    )
    assert status == 0
    old, new = (tomllib.loads((path / "config.toml").read_text()) for path in (run, Path("other")))
    assert new["training"].pop("steps") == 2
    assert old["training"].pop("steps") == 6
    assert new == old


def test_none_on_the_command_line_wins_over_the_file(deeplstm, text: Path):
    Path("my.toml").write_text('[data]\nvalid = "missing.txt"\n[training]\npatience = 3\n')
    options = ["--config", "my.toml", "--data.valid", "none", "--training.patience", "none", *SMALL, *SHORT]
    assert deeplstm("train", "text", text, "--out", "run", *options).status == 0


def test_overwrite(deeplstm, run: Path, text: Path):
    status, _, _ = deeplstm("train", "text", text, "--out", run, "--overwrite", *SMALL, "--training.steps", 3)
    assert status == 0
    assert tomllib.loads((run / "config.toml").read_text())["training"]["steps"] == 3


def test_resume_longer(deeplstm, run: Path):
    status, out, _ = deeplstm("resume", run, "--steps", 9)
    assert status == 0
    assert re.search(r"^steps +9,", out, re.MULTILINE)
    assert [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()] == ["step", "6", "9"]
    assert deeplstm("resume", run, "--epochs", 0.5, "--quiet").status == 0
    table = tomllib.loads((run / "config.toml").read_text())["training"]
    assert (table["epochs"], table["steps"]) == (0.5, "none")


def test_resume_with_another_rate(deeplstm, run: Path):
    assert deeplstm("resume", run, "--steps", 9, "--lr", 0.5, "--quiet") == (0, "", "")
    assert tomllib.loads((run / "config.toml").read_text())["training"]["lr"] == 0.5


def test_resume_needs_the_encoded_text_only(deeplstm, text: Path):
    Path("mine.txt").write_text(text.read_text())
    assert deeplstm("train", "text", "mine.txt", "--out", "run", *SMALL, *SHORT, "--quiet").status == 0
    Path("mine.txt").unlink()
    assert deeplstm("resume", "run", "--steps", 8).status == 0


def test_resume_after_a_crash_is_as_if_it_had_not_happened(deeplstm, text: Path, monkeypatch: pytest.MonkeyPatch):
    """The same, to the bit, with everything random that a text model has."""
    options = [
        "--model.dropout",
        0.2,
        "--model.zoneout",
        0.1,
        "--model.weight-drop",
        0.1,
        "--model.recurrent-dropout",
        0.1,
    ]
    options += [*SMALL, "--training.steps", 12, "--training.save-every", 5, "--training.threads", 1, "--quiet"]
    assert deeplstm("train", "text", text, "--out", "whole", *options).status == 0

    class Crash(Exception):
        pass

    loss, calls = TextProblem.loss, iter(range(100))

    def crashing(*args):
        if next(calls) == 8:
            raise Crash
        return loss(*args)

    with monkeypatch.context() as patched:
        patched.setattr(TextProblem, "loss", crashing)
        with pytest.raises(Crash):
            deeplstm("train", "text", text, "--out", "run", *options)
    assert deeplstm("resume", "run", "--quiet").status == 0
    for name in ("weights.safetensors", "sample.txt", "config.toml"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_resume_finishes_what_comes_after_the_last_step(deeplstm, run: Path):
    """Killed between the last step and the sample: curves and sample are still to be made."""
    (run / "sample.txt").unlink()
    (run / "loss.png").unlink()
    assert deeplstm("resume", run).status == 0
    assert (run / "sample.txt").exists()
    assert (run / "loss.png").exists()


def test_resume_before_the_first_save(deeplstm, trained: Path, run: Path):
    for name in ("resume.ckpt", "weights.safetensors", "metrics.csv", "sample.txt"):
        (run / name).unlink()
    assert deeplstm("resume", run).status == 0
    assert (run / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()


def test_generate(deeplstm, run: Path):
    status, out, err = deeplstm("generate", run, "--prompt", "to be", "--length", 30, "--seed", 3)
    assert (status, err) == (0, "")
    assert out.startswith("to be")
    assert len(out) == len("to be") + 30 + len("\n")
    assert deeplstm("generate", run, "--prompt", "to be", "--length", 30, "--seed", 3).out == out
    assert deeplstm("generate", run, "--prompt", "to be", "--length", 30, "--seed", 4).out != out


def test_a_run_is_shared_as_three_files(deeplstm, run: Path):
    for path in run.iterdir():
        if path.name not in ("config.toml", "vocabulary.json", "weights.safetensors", "data"):
            path.unlink()
    assert deeplstm("generate", run, "--length", 3).status == 0


def test_reader_that_leaves_early(run: Path):
    command = [sys.executable, "-m", "deeplstm", "generate", str(run), "--length", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
