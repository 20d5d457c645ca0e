"""Stopped anywhere, by anything, and resumed: the same bits as never having stopped."""

import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from deeplstm.training import files, loop
from deeplstm.training.config import Training
from training import toys


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    toys.train(path, toys.options())
    return path


class Crash(Exception):
    pass


def crash_at(step: int):
    def at_step(now: int) -> None:
        if now == step:
            raise Crash

    return lambda: toys.Toy(at_step)


@pytest.mark.parametrize("rows", [0, 3, 11])
def test_killed_with_sigkill(rows: int, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = toys.in_process(toys.train, run, toys.options(), stderr=tmp_path / "stderr")
    wait_for_rows(process, run, rows)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    toys.train(run, toys.options())

    toys.assert_same_run(run, whole)


def test_killed_again_and_again(whole: Path, tmp_path: Path):
    run, kills = tmp_path / "run", 0
    while kills < 4:
        process = toys.in_process(toys.train, run, toys.options(), stderr=tmp_path / "stderr")
        wait_for_rows(process, run, rows=kills * 4 + 2)
        time.sleep(0.004 * kills)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    toys.train(run, toys.options())
    toys.assert_same_run(run, whole)


def wait_for_rows(process, run: Path, rows: int) -> None:
    """Until metrics.csv has so many rows."""
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        if (run / "metrics.csv").exists() and (run / "metrics.csv").read_text().count("\n") > rows:
            return
        time.sleep(0.001)
    raise AssertionError("the process ended before it could be killed")


@pytest.mark.parametrize("step", [0, 1, 6, 7, 8, 9, 11, 12, 13, 36, 59])
def test_crashed_before_this_step(step: int, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(Crash):
        toys.train(run, toys.options(), crash_at(step))
    resumed, _ = toys.train(run, toys.options())
    saves = [n for n in range(60) if n <= step and (n % 7 == 0 or n % 9 == 0)]
    assert resumed.steps == 60 - max(saves)
    toys.assert_same_run(run, whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "momentum": 0.9, "schedule": "divide", "divide_after": 2, "clip_norm": 0.5},
        {"optimizer": "rmsprop", "weight_decay": 1e-3, "schedule": "linear", "clip_norm": None},
        {"optimizer": "adam", "precision": "bf16", "validate_every": None, "schedule": "constant"},
        {"carry_state": False, "steps": 41, "patience": 2},
    ],
    ids=["sgd", "rmsprop", "bf16", "patience"],
)
def test_other_options(changes: dict, tmp_path: Path):
    training = toys.options(**changes)
    toys.train(tmp_path / "whole", training)
    with pytest.raises(Crash):
        toys.train(tmp_path / "run", training, crash_at(26))
    toys.train(tmp_path / "run", training)
    toys.assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_saves_by_the_clock(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", 0)
    monkeypatch.setattr(loop, "SHARE_OF_SAVING", math.inf)
    with pytest.raises(Crash):
        toys.train(tmp_path / "run", toys.options(save_every=None), crash_at(23))
    resumed, _ = toys.train(tmp_path / "run", toys.options(save_every=None))
    assert resumed.steps == 60 - 23
    toys.assert_same_run(tmp_path / "run", whole)


def test_slow_saves_come_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", 0)
    monkeypatch.setattr(loop, "SHARE_OF_SAVING", 1e-9)
    with pytest.raises(Crash):
        toys.train(tmp_path / "run", toys.options(save_every=None, validate_every=30), crash_at(20))
    resumed, _ = toys.train(tmp_path / "run", toys.options(save_every=None, validate_every=30))
    assert resumed.steps == 60 - 1  # one save to learn how long they take


def die_in_save(where: str, number: int, run: Path, training: Training) -> None:
    """Train, and be killed at one point of the save with this number."""
    saves = 0

    def die(*args) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    real_open, real_replace = open, os.replace

    def opened(path, *args, **kwargs):
        nonlocal saves
        file = real_open(path, *args, **kwargs)
        saves += ".resume.ckpt" in str(path)
        if saves == number and where == "half written":
            write = file.write
            file = HalfFile(file, lambda data: (write(data[: len(data) // 2]), file.flush(), die()))
        elif saves == number and where == "written":
            os.fsync = die
        return file

    def replaced(source, target) -> None:
        real_replace(source, target)
        if saves == number and where == "renamed" and str(target).endswith("resume.ckpt"):
            die()

    files.open, os.replace = opened, replaced
    toys.train(run, training)


class HalfFile:
    def __init__(self, file, write) -> None:
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        self.file.close()

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return self.file.fileno()


@pytest.mark.parametrize("where", ["half written", "written", "renamed"])
@pytest.mark.parametrize("number", [1, 4])
def test_killed_during_a_save(where: str, number: int, whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = toys.in_process(die_in_save, where, number, run, toys.options(), stderr=tmp_path / "stderr")
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    if number > 1:
        torch.load(run / "resume.ckpt", weights_only=True)  # whole, whichever it is
    toys.train(run, toys.options())
    assert not list(run.glob(".*"))
    toys.assert_same_run(run, whole)


def test_killed_between_the_last_checkpoint_and_its_weights(tmp_path: Path):
    """All steps are done and the weights of the best are not written: resuming still has to."""
    training = toys.options(steps=9)  # saves at 7 and, validated, at 9
    process = toys.in_process(die_in_save, "renamed", 2, tmp_path / "run", training, stderr=tmp_path / "stderr")
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    toys.train(tmp_path / "run", training)
    toys.train(tmp_path / "whole", training)
    toys.assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("file", ["resume.ckpt", "weights.safetensors"])
def test_full_disk(file: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, real_open, writes = tmp_path / "run", open, 0

    def opened(path, *args, **kwargs):
        nonlocal writes
        stream = real_open(path, *args, **kwargs)
        writes += f".{file}." in str(path)
        if writes < 3:
            return stream

        def write(data: bytes) -> None:
            stream.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        return HalfFile(stream, write)

    with monkeypatch.context() as patched:
        patched.setattr(files, "open", opened, raising=False)
        with pytest.raises(
            OSError, match=f"No space left on device: .*{file} could not be written; what it held before is"
        ):
            toys.train(run, toys.options())
    assert not [path for path in run.iterdir() if path.name.endswith(".tmp")]
    torch.load(run / "resume.ckpt", weights_only=True)
    toys.weights(run)

    toys.train(run, toys.options())
    toys.assert_same_run(run, whole)


def test_more_steps_than_planned(whole: Path, tmp_path: Path):
    """A constant rate does not know how long the training is: longer later is the same as longer at once."""
    toys.train(tmp_path / "whole", toys.options(steps=36, schedule="constant"))
    toys.train(tmp_path / "run", toys.options(steps=18, schedule="constant"))
    resumed, outcome = toys.train(tmp_path / "run", toys.options(steps=36, schedule="constant"))
    assert resumed.steps == 18
    assert outcome.steps == 36
    toys.assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_patience_begins_anew_when_more_is_asked_for(tmp_path: Path):
    training = toys.options(lr=1e-9, warmup_steps=0, patience=1, validate_every=3)
    _, outcome = toys.train(tmp_path / "run", training)
    assert outcome.reason == "patience"
    stopped_at = outcome.steps
    again, outcome = toys.train(tmp_path / "run", training)
    assert again.steps == 0
    assert (outcome.steps, outcome.reason) == (stopped_at, "patience")
    more, _ = toys.train(
        tmp_path / "run", toys.options(lr=1e-9, warmup_steps=0, patience=1, validate_every=3, steps=90)
    )
    assert more.steps >= 3


def test_a_finished_run_has_nothing_left_to_do(whole: Path):
    before = (whole / "metrics.csv").read_bytes()
    toy, outcome = toys.train(whole, toys.options())
    assert toy.steps == 0
    assert outcome.steps == 60
    assert (whole / "metrics.csv").read_bytes() == before
    assert math.isclose(outcome.best_loss, toy.validate()["loss"], rel_tol=1e-6)
