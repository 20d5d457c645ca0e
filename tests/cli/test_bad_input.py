"""Whatever is wrong with what a user gave: one clear line on stderr, exit status 2, and nothing lost."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli.small import SHORT, SMALL
from deeplstm.training import files


def fails(said, *parts: str) -> str:
    """One line, status 2, nothing on stdout; each part is in it."""
    assert said.status == 2
    assert said.out == ""
    line = said.err.removesuffix("\n")
    assert "\n" not in line
    assert line.startswith("deeplstm: ")
    for part in parts:
        assert part in line
    return line


# --- options


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (["trian"], ['Unknown command "trian". Did you mean "train"?']),
        (["train", "txt"], ['Unknown command "txt". Did you mean "text"?']),
        (["train", "series"], ["requires an argument"]),
        (["forecast", "no-run", "a.csv"], ["--steps", "requires an argument"]),
        (["train", "text", "--model.layrs", "3"], ["Unknown option: --model.layrs. Did you mean --model.layers?"]),
        (["train", "text", "--traning.lr", "3"], ["Unknown option: --traning.lr. Did you mean --training.lr?"]),
        (["train", "text", "--model.skip", "residul"], ["residul", 'Did you mean "residual"?']),
        (["train", "text", "--model.layers", "two"], ["--model.layers is 'two', but a whole number is expected."]),
        (["train", "text", "--model.layers", "2.5"], ["--model.layers is '2.5', but a whole number is expected."]),
        (["train", "text", "--model.widths", "64,x"], ["--model.widths is 'x', but a whole number is expected."]),
        (["train", "text", "--training.lr", "fast"], ["--training.lr", "fast"]),
        (["train", "text", "--training.lr"], ["--training.lr", "requires an argument"]),
        (["train", "text", "--training.lr", "0"], ["training.lr=0.0, but it must be a finite number above 0"]),
        (["train", "text", "--training.epochs", "nan"], ["training.epochs=nan"]),
        (
            ["train", "text", "--model.cell", "gru", "--model.peephole"],
            ["model.peephole", "cell=gru has no such option"],
        ),
        (["train", "text", "--training.momentum", "0.5"], ["optimizer=adamw has no use for it"]),
        (["train", "text", "--out"], ["--out", "requires an argument"]),
        (["train", "text", "--config", "no.toml"], ["no.toml does not exist"]),
        (["generate"], ["requires an argument"]),
        (["generate", "no-run"], ["no-run does not exist; the folder of a run was expected."]),
        (["generate", "no-run", "--length", "many"], ["--length", "many"]),
        (["evaluate", "no-run"], ["requires an argument"]),
        (["resume", "no-run", "--epoch", "3"], ["Unknown option: --epoch. Did you mean --epochs?"]),
    ],
    ids=" ".join,
)
def test_options(tokens: list[str], parts: list[str], deeplstm):
    fails(deeplstm(*tokens), *parts)


def test_all_options_at_once(deeplstm):
    status, out, err = deeplstm("train", "text", "--training.lr", 0, "--model.width", 0, "--data.valid-fraction", 1)
    assert (status, out) == (2, "")
    first, *rest = err.splitlines()
    assert first == "deeplstm: These options cannot be used, 3 times:"
    assert [line.split("=")[0].strip() for line in rest] == ["data.valid_fraction", "model.width", "training.lr"]


def test_config_file(deeplstm, text: Path):
    Path("my.toml").write_text("[model]\nlayrs = 2\n")
    fails(
        deeplstm("train", "text", text, "--config", "my.toml"),
        "my.toml does not fit: model.layrs is no option; did you mean",
    )
    Path("my.toml").write_text("[model\n")
    fails(deeplstm("train", "text", text, "--config", "my.toml"), "my.toml is not a TOML file")
    Path("my.toml").write_text('task = "series"\n')
    fails(deeplstm("train", "text", text, "--config", "my.toml"), "my.toml is of the task 'series'")
    assert not Path("runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_device(deeplstm, text: Path):
    said = deeplstm("train", "text", text, "--out", "run", "--training.device", "cuda")
    fails(said, "device=cuda, but torch finds no CUDA device here: choose auto or cpu.")
    assert not Path("run").exists()


# --- texts


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["cannot be read (No such file or directory)"]),
        (b"", ["is empty"]),
        (b"\x00\x01" * 500, ["is binary"]),
        ("grün".encode("latin-1") * 500, ["is not UTF-8 text", "at byte 2"]),
        (b"short", ["tokens, but 4 streams with one window of 10 steps", "lower batch_size or window"]),
    ],
    ids=["missing", "empty", "binary", "latin-1", "short"],
)
def test_texts(content: bytes | None, parts: list[str], deeplstm, tmp_path: Path):
    if content is not None:
        Path("my.txt").write_bytes(content)
    before = sorted(tmp_path.iterdir())
    said = deeplstm("train", "text", "my.txt", "--out", "run", "--quiet", *SMALL, *SHORT)
    fails(said, *parts, *([] if content == b"short" else ["my.txt"]))
    assert sorted(tmp_path.iterdir()) == before


def test_folder_for_a_text(deeplstm):
    Path("folder").mkdir()
    fails(deeplstm("train", "text", "folder", "--out", "run"), "folder is a folder")


def test_existing_run(deeplstm, run: Path, text: Path):
    before = contents(run)
    fails(
        deeplstm("train", "text", text, "--out", run),
        "run exists already and nothing is overwritten unasked",
        "--overwrite",
    )
    assert contents(run) == before
    Path("bad.txt").write_bytes(b"\x00")
    fails(deeplstm("train", "text", "bad.txt", "--out", run, "--overwrite", "--quiet"), "bad.txt is binary")
    assert contents(run) == before


def contents(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_unseen_characters(deeplstm, run: Path):
    fails(deeplstm("generate", run, "--prompt", "to bé ☃"), "2 characters that the vocabulary", "'é' '☃'")
    Path("other.txt").write_text("XYZ")
    fails(deeplstm("evaluate", run, "other.txt", "--quiet"), "other.txt", "'X' 'Y' 'Z'")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--temperature", -1), ("--temperature", "nan"), ("--top-p", 0), ("--length", -1), ("--seed", -1)],
)
def test_generate_options(option: str, value: object, deeplstm, run: Path):
    fails(deeplstm("generate", run, option, value), option.removeprefix("--").replace("-", "_") + "=")


def test_resume_options(deeplstm, run: Path):
    before = contents(run)
    fails(deeplstm("resume", run), "run is complete", "--epochs or --steps")
    fails(deeplstm("resume", run, "--steps", 0), "training.steps=0")
    fails(deeplstm("resume", run, "--steps", 3), "run has 6 steps behind it, more than the 3 asked for")
    fails(deeplstm("resume", run, "--lr", -1), "training.lr=-1.0")
    assert contents(run) == before


# --- damaged and foreign runs. Each file: missing, cut short, another kind of file.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nonsense(path: Path) -> None:
    path.write_bytes(b"\x93nonsense" * 40)


def other_vocabulary(path: Path) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "symbols": [*content["symbols"], "é"]}))


def newer(path: Path) -> None:
    path.write_text(path.read_text().replace("format = 1", "format = 99"))


def other_width(path: Path) -> None:
    path.write_text(path.read_text().replace("width = 8", "width = 9"))


def other_window(path: Path) -> None:
    path.write_text(path.read_text().replace("window = 10", "window = 9"))


def out_of_range(path: Path) -> None:
    path.write_text(path.read_text().replace("lr = 0.002", "lr = -1.0"))


def without_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors["stranger"] = tensors.pop("output.bias")
    save_file(tensors, path)


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def hostile(path: Path) -> None:
    torch.save({"state_dict": {}, "deeplstm": Hostile()}, path)


def without_position(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["deeplstm"]
    torch.save(checkpoint, path)


def without_optimizer(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["optimizer_states"][0]["state"]
    torch.save(checkpoint, path)


def strange_position(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["deeplstm"]["position"]["place"] = 3
    torch.save(checkpoint, path)


def without_loops(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["loops"] = {}
    torch.save(checkpoint, path)


def other_optimizer(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(2)
    del checkpoint["state_dict"]["network.output.bias"]
    torch.save(checkpoint, path)


def other_columns(path: Path) -> None:
    path.write_text("a,b\n1,2\n")


READ, RESUME = ["generate", "RUN", "--length", "3"], ["resume", "RUN", "--steps", "9"]


@pytest.mark.parametrize(
    ("tokens", "file", "damage", "part"),
    [
        (READ, "config.toml", Path.unlink, "it has no config.toml"),
        (READ, "config.toml", nonsense, "is not a TOML file"),
        (READ, "config.toml", newer, "has format 99; this version reads up to 1"),
        (READ, "config.toml", out_of_range, "cannot be used: training.lr=-1.0"),
        (READ, "vocabulary.json", Path.unlink, "cannot be read"),
        (READ, "vocabulary.json", cut, "is damaged"),
        (READ, "vocabulary.json", nonsense, "is damaged"),
        (READ, "weights.safetensors", Path.unlink, "does not exist: this run has not been validated yet"),
        (READ, "weights.safetensors", cut, "is damaged or no safetensors file"),
        (READ, "weights.safetensors", nonsense, "is damaged or no safetensors file"),
        (RESUME, "data/train.bin", Path.unlink, "cannot be read"),
        (RESUME, "data/train.bin", cut, "bytes, but train.json speaks of"),
        (RESUME, "data/train.json", cut, "is damaged"),
        (RESUME, "data/valid.bin", cut, "bytes, but valid.json speaks of"),
        (RESUME, "resume.ckpt", cut, "is damaged"),
        (RESUME, "resume.ckpt", nonsense, "is damaged"),
        (RESUME, "resume.ckpt", Path.unlink, "does not exist, but weights.safetensors does"),
        (RESUME, "resume.ckpt", hostile, "is damaged, or holds more than tensors and plain values"),
        (RESUME, "resume.ckpt", without_position, "is not the checkpoint of a run"),
        (RESUME, "resume.ckpt", strange_position, "is damaged: TypeError("),
        (RESUME, "resume.ckpt", without_optimizer, "is damaged: KeyError('state')"),
        (RESUME, "resume.ckpt", without_loops, "is damaged: KeyError('fit_loop')"),
        (RESUME, "metrics.csv", Path.unlink, "cannot be read as a table of metrics"),
        (RESUME, "metrics.csv", other_columns, "begins with a,b"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) and "." in value else None),
)
def test_damaged_run(tokens: list[str], file: str, damage: Callable[[Path], None], part: str, deeplstm, run: Path):
    damage(run / file)
    before = contents(run)
    line = fails(deeplstm(*[str(run) if token == "RUN" else token for token in tokens], *quiet(tokens)), part)
    assert (str(run) if file == "config.toml" else str(run / file)) in line
    assert contents(run) == before
    assert not Path("executed").exists()


def quiet(tokens: list[str]) -> list[str]:
    return ["--quiet"] if tokens[0] == "resume" else []


@pytest.mark.parametrize(
    ("tokens", "file", "damage", "expected"),
    [
        (READ, "vocabulary.json", other_vocabulary, ["embedding.weight is", "output.bias is", "output.weight is"]),
        (READ, "config.toml", other_width, ["embedding.weight is", "core"]),
        (READ, "weights.safetensors", without_a_tensor, ["output.bias is missing", "stranger is unexpected"]),
        (RESUME, "config.toml", other_width, ["embedding.weight is", "core"]),
        (
            RESUME,
            "resume.ckpt",
            other_optimizer,
            ["the optimiser's exp_avg of parameter 0 is (2,) in place of (17, 8)", "output.bias is missing"],
        ),
        (RESUME, "config.toml", other_window, ["windows per epoch was 38 and is now 42", "window was 10 and is now 9"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_files_that_do_not_fit_each_other(tokens, file, damage, expected: list[str], deeplstm, run: Path):
    """One message that names the file and lists everything at once."""
    damage(run / file)
    before = contents(run)
    status, out, err = deeplstm(*[str(run) if token == "RUN" else token for token in tokens], *quiet(tokens))
    assert (status, out) == (2, "")
    first, *rest = err.splitlines()
    named = "weights.safetensors does not fit" if tokens is READ else "resume.ckpt was not made by this config.toml"
    assert named in first
    assert int(re.findall(r"(\d+) times:$", first)[0]) == len(rest)
    for part in expected:
        assert any(part in line for line in rest)
    assert contents(run) == before


# --- the disk and the loss


def test_vocabulary_of_other_data(deeplstm, run: Path):
    other_vocabulary(run / "vocabulary.json")
    fails(deeplstm("resume", run, "--steps", 9), "data/train.bin has 17 symbols, but the vocabulary has 18")


def test_full_disk(deeplstm, run: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = (run / "resume.ckpt").read_bytes()
    with monkeypatch.context() as patched:
        real = files.os.replace
        patched.setattr(files.os, "replace", lambda a, b: full(0) if str(b).endswith("resume.ckpt") else real(a, b))
        said = deeplstm("resume", run, "--steps", 9, "--quiet")
    fails(said, "No space left on device", "resume.ckpt could not be written; what it held before is untouched")
    assert (run / "resume.ckpt").read_bytes() == before
    assert deeplstm("resume", run, "--quiet").status == 0


def test_diverging(deeplstm, text: Path):
    tokens = [
        "--training.lr",
        "1e38",
        "--training.clip-norm",
        "none",
        "--training.optimizer",
        "sgd",
        "--training.schedule",
        "constant",
    ]
    said = deeplstm("train", "text", text, "--out", "run", "--quiet", *SMALL, *SHORT, *tokens)
    fails(said, " at step ", "and training stopped", "train anew with a learning rate below 1e+38")
