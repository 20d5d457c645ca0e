"""What a training does, against a loop written out by hand, and how it ends."""

import csv
import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from deeplstm.errors import BackendUnavailable, InputError
from deeplstm.training import surroundings
from training import toys


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_equals_a_loop_written_out_by_hand(tmp_path: Path):
    """SGD with momentum, "divide" after epoch 2, clipping; the state carried within an epoch, zero at its start."""
    training = toys.options(
        optimizer="sgd",
        momentum=0.5,
        lr=2.0,
        warmup_steps=0,
        schedule="divide",
        divide_after=2,
        clip_norm=0.25,
        log_every=1,
    )
    toys.train(tmp_path / "run", training)

    with toys.seeded(training.seed):
        toy = toys.Toy()
        velocity = [torch.zeros_like(parameter) for parameter in toy.network.parameters()]
        losses, norms = [], []
        for epoch in range(5):
            state = None
            lr = 2.0 / 2 ** max(0, epoch - 1)  # epochs 0 and 1 whole, then 1, 0.5, 0.25
            for batch in toy.train:
                toy.network.zero_grad()
                loss, _, _, state = toy.loss(batch, state)
                state = tuple(part.detach() for part in state)
                loss.backward()
                gradients = [parameter.grad for parameter in toy.network.parameters()]
                norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
                for parameter, gradient, v in zip(toy.network.parameters(), gradients, velocity, strict=True):
                    v.mul_(0.5).add_(gradient * min(1, 0.25 / norm))
                    parameter.data.sub_(lr * v)
                losses.append(loss.item())
                norms.append(norm)

    assert min(norms) < 0.25 < max(norms)
    rows = rows_of(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    torch.testing.assert_close([float(row["loss"]) for row in rows], losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close([float(row["gradient_norm"]) for row in rows], norms, rtol=1e-3, atol=1e-5)
    assert [float(row["lr"]) for row in rows[::12]] == [2.0, 2.0, 1.0, 0.5, 0.25]
    latest = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)["state_dict"]
    for name, tensor in toy.network.state_dict().items():
        torch.testing.assert_close(latest[f"network.{name}"], tensor, rtol=1e-3, atol=1e-4)


def test_row_is_the_mean_since_the_row_before(tmp_path: Path):
    toys.train(tmp_path / "each", toys.options(log_every=1, validate_every=10))
    toys.train(tmp_path / "some", toys.options(log_every=4, validate_every=10))
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "each")]
    rows = rows_of(tmp_path / "some")
    assert [int(row["step"]) for row in rows] == sorted({*range(4, 61, 4), *range(10, 61, 10)})
    before = 0
    for row in rows:
        step = int(row["step"])
        assert float(row["loss"]) == pytest.approx(sum(losses[before:step]) / (step - before))
        assert (row["valid_loss"] != "") == (step % 10 == 0)
        before = step


def test_state_is_carried_and_begins_anew_with_each_epoch(tmp_path: Path):
    toy, _ = toys.train(tmp_path / "run", toys.options())
    assert [step for step, state in enumerate(toy.states) if state is None] == [0, 12, 24, 36, 48]
    toy, _ = toys.train(tmp_path / "other", toys.options(carry_state=False))
    assert toy.states == [None] * 60


def test_network_and_weights_are_the_best_ones(tmp_path: Path):
    """With a rate that wrecks the network in the end, the best weights lie in the middle."""
    training = toys.options(schedule="constant", lr=0.3, validate_every=3, clip_norm=None, steps=40)
    toy, outcome = toys.train(tmp_path / "run", training)
    losses = {int(row["step"]): float(row["valid_loss"]) for row in rows_of(tmp_path / "run") if row["valid_loss"]}
    assert outcome.best_loss == min(losses.values())
    assert losses[outcome.best_step] == outcome.best_loss
    assert outcome.best_step < 40
    assert toy.validate()["loss"] == pytest.approx(outcome.best_loss)
    for name, tensor in toys.weights(tmp_path / "run").items():
        assert torch.equal(tensor, toy.network.state_dict()[name])


def test_early_stopping(tmp_path: Path):
    values = iter([3.0, 2.0, 2.5, 2.2, 1.0])

    class Measured(toys.Toy):
        def validate(self) -> dict[str, float]:
            return {"loss": next(values), "error": 0.0}

    _, outcome = toys.train(tmp_path / "run", toys.options(patience=2, validate_every=5), Measured)
    assert (outcome.reason, outcome.steps, outcome.best_step, outcome.best_loss) == ("patience", 20, 10, 2.0)


@pytest.mark.parametrize(("epochs", "steps", "expected"), [(2.5, None, 30), (0.01, None, 1), (7, 5, 5)])
def test_length(epochs: float, steps: int | None, expected: int, tmp_path: Path):
    _, outcome = toys.train(tmp_path / "run", toys.options(epochs=epochs, steps=steps))
    assert outcome.steps == expected
    assert rows_of(tmp_path / "run")[-1]["valid_loss"]  # the last step is validated, wherever it is


def test_callers_surroundings_stay(tmp_path: Path):
    torch.manual_seed(5)
    expected, before = torch.rand(3), signal.getsignal(signal.SIGINT)
    torch.manual_seed(5)
    toys.train(tmp_path / "run", toys.options(steps=3, threads=2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1
    assert signal.getsignal(signal.SIGINT) is before


def nan_at(step: int):
    class Diverging(toys.Toy):
        def loss(self, batch, state):
            loss = super().loss(batch, state)
            factor = torch.tensor(math.nan if self.steps == step else 1.0)
            return loss._replace(objective=loss.objective * factor, mean=loss.mean * factor)

    return Diverging


def test_nan_stops_with_the_last_checkpoint_kept(tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"The loss became nan at step 32 \(epoch 2\.67\).*Step 28 is saved.*--lr"):
        toys.train(run, toys.options(), nan_at(32))
    checkpoint = torch.load(run / "resume.ckpt", weights_only=True)
    assert checkpoint["deeplstm"]["position"]["step"] == 28
    for tensor in [*checkpoint["state_dict"].values(), *toys.weights(run).values()]:
        assert tensor.isfinite().all()


def test_infinite_gradient_stops(tmp_path: Path):
    class Steep(toys.Toy):
        def loss(self, batch, state):
            loss = super().loss(batch, state)
            return loss._replace(objective=loss.objective * (1e38 * 1e38 if self.steps == 3 else 1))

    with pytest.raises(
        InputError, match=r"The gradient's norm became (nan|inf) at step 3 .*Nothing is saved yet: train anew"
    ):
        toys.train(tmp_path / "run", toys.options(), Steep)


def test_nan_in_validation_stops(tmp_path: Path):
    class Blind(toys.Toy):
        def validate(self) -> dict[str, float]:
            return {"loss": math.nan, "error": 0.0}

    with pytest.raises(InputError, match="The validation loss became nan at step 9 "):
        toys.train(tmp_path / "run", toys.options(), Blind)


# --- interruptions


def wait_for(text: str, file: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if file.exists() and text in file.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {text!r} in {file}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_says_how_to_go_on(number: int, status: int, tmp_path: Path):
    run, said = tmp_path / "run", tmp_path / "stderr"
    process = toys.in_process(toys.interrupted, run, toys.Slow, stderr=said)
    wait_for(",", run / "metrics.csv")
    wait_for("\n5,", run / "metrics.csv")
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == status
    step = torch.load(run / "resume.ckpt", weights_only=True)["deeplstm"]["position"]["step"]
    assert 5 <= step < 60
    assert said.read_text().splitlines() == [
        "Stopping after this step; once more stops at once, without saving.",
        f"Stopped after step {step} and saved; go on with: deeplstm resume {run}",
    ]
    assert toys.weights(run)  # usable at once, though never validated

    toys.train(run, toys.options())
    toys.train(tmp_path / "whole", toys.options())
    toys.assert_same_run(run, tmp_path / "whole")


def test_second_interrupt_stops_at_once(tmp_path: Path):
    said = tmp_path / "stderr"
    process = toys.in_process(toys.interrupted, tmp_path / "run", toys.Stuck, stderr=said)
    wait_for("validating", said)
    os.kill(process.pid, signal.SIGINT)
    wait_for("once more", said)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    assert process.exitcode == 130
    assert f"Stopped at once; go on with: deeplstm resume {tmp_path / 'run'}" in said.read_text()


# --- loggers


def test_tensorboard(tmp_path: Path):
    toys.train(tmp_path / "run", toys.options(steps=10, tensorboard=True))
    (events,) = (tmp_path / "run" / "tensorboard").glob("events*")
    assert b"valid_loss" in events.read_bytes()


def test_missing_tensorboard_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(surroundings, "find_spec", lambda name: None)
    toy = toys.Toy()
    with pytest.raises(BackendUnavailable, match=r"pip install 'deeplstm\[tensorboard\]'"):
        toys.train(tmp_path / "run", toys.options(tensorboard=True), lambda: toy)
    assert toy.steps == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu(tmp_path: Path):
    with pytest.raises(BackendUnavailable, match="device=cuda, but torch finds no CUDA device here"):
        toys.train(tmp_path / "run", toys.options(device="cuda"))


def test_says_nothing_when_quiet_and_lines_otherwise(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    toys.train(tmp_path / "quiet", toys.options())
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("deeplstm.training.progress.SECONDS_BETWEEN_LINES", 0)
    toys.train(tmp_path / "loud", toys.options(), quiet=False)
    out, lines = capfd.readouterr()
    assert out == ""
    assert "60/60  loss 0." in lines or "60/60  loss 1." in lines
    assert "symbols/s  0:00:00 left" in lines.splitlines()[-1]
