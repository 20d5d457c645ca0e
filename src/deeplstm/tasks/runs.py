"""What the runs of every task do alike: say what they are about to do, and go on where they were."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from deeplstm.errors import InputError
from deeplstm.training.config import Training
from deeplstm.training.problem import Problem
from deeplstm.training.run_folder import Run
from deeplstm.training.schedule import total_steps

Kind = TypeVar("Kind", bound=Training)


def resumed(training: Kind, run: Run, last: Path, *, epochs: float | None, steps: int | None, lr: float | None) -> Kind:
    """How a run is trained on: as before, but for what is given.

    Args:
        last: the file that is written last, and says that the run is complete.

    Raises: InputError for a complete run where no new length or rate is given.
    """
    changes = {"epochs": epochs, "steps": steps, "lr": lr}
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if not given and last.exists():
        raise InputError(f"{run.path} is complete; to train it further, say how long in all: --epochs or --steps.")
    if steps is None and epochs is not None:
        given["steps"] = None  # or the steps chosen before would override the epochs
    return replace(training, **given)


def introduce(
    run: Run, problem: Problem, training: Training, sizes: tuple[int, int], say: Callable[[str], None]
) -> None:
    """Say what is trained on what, and for how long. `sizes`: of the training and of the validation data."""
    parameters = sum(parameter.numel() for parameter in problem.network.parameters())
    steps = total_steps(training, len(problem.train))
    say(f"{run.path}: {sizes[0]:,} {problem.unit} to train on, {sizes[1]:,} to validate on")
    say(f"{parameters:,} parameters, {steps:,} steps of {training.batch_size} x {training.window} {problem.unit}")
