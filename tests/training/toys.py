"""A problem small enough to be trained hundreds of times, and what it takes to break off its training."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import deeplstm
from deeplstm.training.config import Training
from deeplstm.training.fit import Outcome, fit
from deeplstm.training.interrupt import Interrupted
from deeplstm.training.problem import Loss
from deeplstm.training.run_folder import Run
from deeplstm.training.surroundings import seeded

SYMBOLS, WINDOW, BATCH = 11, 8, 4


class Network(nn.Module):
    """Dropout, so that generators matter; two layers with (h, c), so that the carried state does."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 12)
        self.lstm = deeplstm.LSTM(12, 12, 2, dropout=0.3)
        self.output = nn.Linear(12, SYMBOLS)

    def forward(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.lstm(self.embedding(ids), state)
        return self.output(y), state


class Toy:
    """Predict the next of a row of symbols. `at_step` is called with the number of each step before its loss."""

    unit = "symbols"
    metrics = ("loss", "error")

    def __init__(self, at_step: Callable[[int], None] = lambda step: None, windows: int = 12) -> None:
        self.network = Network()
        self.at_step = at_step
        ids = (
            torch.arange(BATCH * (windows * WINDOW + 1)) ** 2 + torch.arange(BATCH * (windows * WINDOW + 1)) // 7
        ) % SYMBOLS
        streams = ids.view(BATCH, -1).T
        self.train = [
            (streams[t : t + WINDOW], streams[t + 1 : t + 1 + WINDOW]) for t in range(0, windows * WINDOW, WINDOW)
        ]
        self.steps = 0
        self.states: list[Any] = []

    def loss(self, batch: tuple[Tensor, Tensor], state: Any) -> Loss:
        self.at_step(self.steps)
        self.steps += 1
        self.states.append(state)
        inputs, targets = batch
        logits, state = self.network(inputs, state)
        mean = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        return Loss(mean, mean, targets.numel(), state)

    def validate(self) -> dict[str, float]:
        self.network.eval()
        with torch.no_grad():
            inputs, targets = self.train[3]
            logits, _ = self.network(inputs, None)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
        self.network.train()
        return {"loss": loss, "error": (logits.argmax(-1) != targets).float().mean().item()}


def options(**changes: Any) -> Training:
    """60 steps of 12 an epoch, with rows, validations and saves that never fall together in a simple way."""
    chosen = {
        "epochs": 5,
        "lr": 0.02,
        "warmup_steps": 4,
        "validate_every": 9,
        "log_every": 5,
        "save_every": 7,
        "batch_size": BATCH,
        "window": WINDOW,
        "threads": 1,
        "device": "cpu",
    }
    return Training(**(chosen | changes))


def train(path: Path, training: Training, problem: Callable[[], Toy] = Toy, quiet: bool = True) -> tuple[Toy, Outcome]:
    """Begin a run in `path`, or go on with the one that is there."""
    resume = path.exists()
    if not resume:
        with Run.create(path) as run:
            run.write_config("toy", training)
    with seeded(training.seed):
        toy = problem()
        return toy, fit(toy, training, Run.open(path), resume=resume, quiet=quiet)


def assert_same_run(one: Path, other: Path) -> None:
    """Equal to the last bit: rows (but for the clock), best weights, latest weights, optimiser, generator, state."""
    assert _rows(one) == _rows(other)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    torch.testing.assert_close(_checkpoint(one), _checkpoint(other), rtol=0, atol=0)


def _rows(path: Path) -> list[list[str]]:
    lines = [line.split(",") for line in (path / "metrics.csv").read_text().splitlines()]
    clock = {lines[0].index("targets_per_second"), lines[0].index("seconds")}
    return [[field for number, field in enumerate(line) if number not in clock] for line in lines]


def _checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = torch.load(path / "resume.ckpt", weights_only=True)
    ours = checkpoint["deeplstm"]
    ours["position"] = {name: value for name, value in ours["position"].items() if "seconds" not in name}
    numbers = ("step", "targets", "best_loss", "best_step", "validations_since_best", "row_loss", "row_targets")
    return {
        "network": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"][0]["state"],
        "generator": ours["generator"],
        "state": ours["state"],
        "position": [float(ours["position"][name]) for name in numbers],
    }


def weights(path: Path) -> dict[str, Tensor]:
    return load_file(path / "weights.safetensors")


class Slow(Toy):
    """Slow enough to be interrupted between two steps."""

    def loss(self, batch, state):
        time.sleep(0.02)
        return super().loss(batch, state)


class Stuck(Toy):
    def validate(self) -> dict[str, float]:
        print("validating", flush=True, file=sys.stderr)
        time.sleep(60)
        return super().validate()


def interrupted(run: Path, problem: type[Toy]) -> int:
    try:
        train(run, options(), problem, quiet=False)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.status
    return 0


# --- processes of their own, to be killed. They are forked off a server that has imported everything once.

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["training.toys", "deeplstm.tasks.text.runs"])


def in_process(function: Callable[..., Any], *args: Any, stderr: Path) -> Any:
    """Start `function(*args)` in a process; what it says on stderr goes to a file, what it returns is its exit status."""
    process = _processes.Process(target=_child, args=(function, args, stderr))
    process.start()
    return process


def _child(function: Callable[..., Any], args: tuple[Any, ...], stderr: Path) -> None:
    sys.stderr = open(stderr, "w", buffering=1)  # noqa: SIM115 - until the process ends
    torch.set_num_threads(1)
    status = function(*args)
    os._exit(status if isinstance(status, int) else 0)
