"""The choices of a training run: a plain dataclass, so that the command line, a TOML file and Python share them."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained. `check` says everything that is wrong with the values at once."""

    epochs: float = 10.0
    """Passes over the training data; a fraction stops in the middle of one."""

    steps: int | None = None
    """Optimiser steps; overrides epochs."""

    batch_size: int = 32
    """Sequences trained on at the same time."""

    window: int = 100
    """Time steps back-propagation goes back through; the state is carried on beyond them."""

    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    """The rule that turns gradients into steps."""

    lr: float = 0.002
    """Learning rate, after the warm-up and before the schedule lowers it."""

    momentum: float = 0.0
    """Momentum of sgd and rmsprop."""

    weight_decay: float = 0.0
    """Pull of every weight towards zero (decoupled in adamw, added to the gradient elsewhere)."""

    clip_norm: float | None = 1.0
    """Longest gradient (2-norm over all parameters) that is used as it is; a longer one is scaled down to it."""

    schedule: Literal["constant", "cosine", "linear", "divide"] = "cosine"
    """How the learning rate goes down: not at all, to zero along a cosine or a line, or divided at each epoch."""

    warmup_steps: int = 0
    """Steps over which the learning rate first rises from zero, along a line."""

    divide_after: int = 4
    """Epochs at the full learning rate before the schedule "divide" begins."""

    divide_by: float = 2.0
    """What the schedule "divide" divides the learning rate by at the start of each later epoch."""

    loss: Literal["mean", "sum-over-time"] = "mean"
    """What is minimised: the mean over all targets, or the sum over a window's time steps averaged over the batch."""

    carry_state: bool = True
    """Start each window from the state the previous one ended in; the state is zero at the start of each epoch."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network: 32-bit floats, or bfloat16 products with 32-bit weights."""

    validate_every: int | None = None
    """Steps between validations; none: at the end of each epoch. The end of the training is always validated."""

    patience: int | None = None
    """Stop after so many validations in a row without a new best one; none: never."""

    save_every: int | None = None
    """Steps between saves of resume.ckpt; none: every minute, less often if saving is slow. Each validation saves as well."""

    log_every: int = 10
    """Steps between rows of metrics.csv."""

    tensorboard: bool = False
    """Also log for TensorBoard, into RUN/tensorboard."""

    seed: int = 0
    """Start of every random choice: initial weights, dropout."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs; auto takes the GPU if there is one."""

    threads: int | None = None
    """CPU threads; none: torch's own choice. Another number may change the last bits of a result."""

    def check(self) -> list[str]:
        """Every complaint about these choices, one line each; empty if they make sense together."""
        complaints = [
            f"training.{name}={getattr(self, name)}, but it must be {expected}"
            for name, expected, fine in _RANGES
            if (value := getattr(self, name)) is not None and not fine(value)
        ]
        defaults = {field.name: field.default for field in fields(self)}
        for name, needed, wanted in (
            ("momentum", "optimizer", ("sgd", "rmsprop")),
            ("divide_after", "schedule", ("divide",)),
            ("divide_by", "schedule", ("divide",)),
        ):
            chosen = getattr(self, needed)
            if chosen not in wanted and getattr(self, name) != defaults[name]:
                advice = f"leave it out or choose {needed}={' or '.join(wanted)}"
                complaints.append(
                    f"training.{name}={getattr(self, name)}, but {needed}={chosen} has no use for it: {advice}"
                )
        return complaints


def _at_least(least: float) -> tuple[str, Callable[[float], bool]]:
    return f"a finite number of at least {least}", lambda value: least <= value < inf


def _above(bound: float) -> tuple[str, Callable[[float], bool]]:
    return f"a finite number above {bound}", lambda value: bound < value < inf


_RANGES: list[tuple[str, str, Callable[[float], bool]]] = [
    ("epochs", *_above(0)),
    ("steps", *_at_least(1)),
    ("batch_size", *_at_least(1)),
    ("window", *_at_least(1)),
    ("lr", *_above(0)),
    ("momentum", "at least 0 and below 1", lambda value: 0 <= value < 1),
    ("weight_decay", *_at_least(0)),
    ("clip_norm", *_above(0)),
    ("warmup_steps", *_at_least(0)),
    ("divide_after", *_at_least(0)),
    ("divide_by", *_at_least(1)),
    ("validate_every", *_at_least(1)),
    ("patience", *_at_least(1)),
    ("save_every", *_at_least(1)),
    ("log_every", *_at_least(1)),
    ("seed", "at least 0 and below 2**63", lambda value: 0 <= value < 2**63),
    ("threads", *_at_least(1)),
]
"""What each number must be; None is always fine where the type allows it."""
