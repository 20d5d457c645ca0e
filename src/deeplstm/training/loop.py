"""What happens at each step of a training, as a LightningModule: Lightning owns the loop and calls the hooks below."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from deeplstm.errors import InputError
from deeplstm.recurrence.state import map_state
from deeplstm.training.checkpoint import OURS
from deeplstm.training.config import Training
from deeplstm.training.interrupt import Interruption
from deeplstm.training.optimizers import optimizer
from deeplstm.training.problem import Batches, Problem, State
from deeplstm.training.progress import Display
from deeplstm.training.run_folder import FORMAT, Run
from deeplstm.training.schedule import rate, total_steps

SECONDS_BETWEEN_SAVES = 60.0
SHARE_OF_SAVING = 0.05
"""Of the time, at most, where saves come by the clock: those of a large network on a slow disk come less often."""


@dataclass
class Position:
    """Where a training stands, beside weights, optimiser, generators and carried state."""

    step: int = 0
    """Finished optimiser steps."""
    targets: int = 0
    seconds: float = 0.0
    """Time spent in steps, over all sessions; validations and saves are left out."""
    best_loss: float = math.inf
    best_step: int = 0
    valid_loss: float | None = None
    """The latest one."""
    validations_since_best: int = 0
    row_loss: float = 0.0
    """Sum of the loss over all targets since the last row of metrics.csv."""
    row_targets: int = 0
    row_seconds: float = 0.0


def columns(metrics: tuple[str, ...]) -> list[str]:
    """The columns of metrics.csv."""
    valid = [f"valid_{name}" for name in metrics]
    return ["step", "epoch", "loss", *valid, "lr", "gradient_norm", "targets_per_second", "seconds"]


class Loop(lightning.LightningModule):
    """One step, in this order: rate, loss, gradient (checked and clipped), update, validation, row, save.

    The save is the last, and each part of a step happens before it or not at all: a checkpoint leaves nothing of its
    step to be done after resuming.
    """

    def __init__(self, problem: Problem, training: Training, run: Run, display: Display) -> None:
        super().__init__()
        self.network = problem.network  # the attribute's name is checkpoint.NETWORK
        self.problem, self.options, self.run, self.display = problem, training, run, display
        self.windows = len(problem.train)
        self.total = total_steps(training, self.windows)
        self.position = Position()
        self.interruption = Interruption(display.say)
        self.before_first_step: Callable[[], None] = lambda: None
        self.started = False
        self._restored: dict[str, Any] | None = None
        self._state: State = None
        self._saved_step: int | None = None

    # --- where it stands

    def restore(self, restored: dict[str, Any]) -> None:
        """Stand where our part of a checkpoint says, `network` having its weights; Lightning restores the rest."""
        self._restored = restored
        self.position = Position(**restored["position"])
        self._saved_step = self.position.step
        if self.position.best_step == self.position.step:
            # The process may have died between the checkpoint and the weights of the same step.
            self.run.write_weights(self.network)
        if restored["total"] != self.total:  # more steps were asked for, so patience starts anew
            self.position.validations_since_best = 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[OURS] = {
            "format": FORMAT,
            "identity": self.identity,
            "total": self.total,
            "position": asdict(self.position),
            "state": self._state,
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to mean the same."""
        names = ("batch_size", "window", "optimizer", "carry_state")
        return {"windows per epoch": self.windows, **{name: getattr(self.options, name) for name in names}}

    @property
    def out_of_patience(self) -> bool:
        return self.options.patience is not None and self.position.validations_since_best >= self.options.patience

    # --- the hooks

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer(self.network, self.options)

    def train_dataloader(self) -> "Endless":
        return Endless(self.problem.train, self.position.step)

    def on_train_start(self) -> None:
        self.interruption.listen()  # again: Lightning has put its own SIGTERM handler on top
        if self._restored is not None:
            self._restore_generators_and_state(self._restored)
        self.started = True
        self.before_first_step()
        self._saved_at, self._save_took = time.monotonic(), 0.0
        self._at_start = replace(self.position)
        self.display.start(self.position.step, self.total)

    def _restore_generators_and_state(self, restored: dict[str, Any]) -> None:
        if self.trainer.global_step != self.position.step:
            raise ValueError(
                f"its loops stand at step {self.trainer.global_step}, its position at {self.position.step}"
            )
        self._state = map_state(lambda part: part.to(self.device), restored["state"])
        torch.set_rng_state(restored["generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(restored["cuda_generators"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._began = time.perf_counter()
        # A function of the step rather than a scheduler with a state: it cannot fall out of step.
        self._rate = rate(self.options, self.position.step, self.total, self.windows)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self._rate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.position.step % self.windows == 0 or not self.options.carry_state:
            self._state = None
        loss = self.problem.loss(batch, self._state)
        self._state = _keep(loss.state)
        self._mean, self._targets = loss.mean.detach(), loss.targets
        return loss.objective

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm or math.inf)
        self._loss, self._norm = torch.stack([self._mean.float(), norm.float()]).tolist()  # one wait for the GPU
        self._require_finite("loss", self._loss, self.position.step + 1)
        self._require_finite("gradient's norm", self._norm, self.position.step + 1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._count()
        position, options = self.position, self.options
        last = position.step == self.total
        validating = last or position.step % (options.validate_every or self.windows) == 0
        measured = self._validate() if validating else {}
        if validating or position.step % options.log_every == 0:
            self._write_row(measured)
        stopping = self.interruption.signal is not None or self.out_of_patience
        if validating or stopping or self._save_is_due:
            self._save()
        self.trainer.should_stop = stopping

    # --- its parts

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            if self._saved_step is None:
                advice = f"Nothing is saved yet: train anew with a learning rate below {self._rate:.3g}."
            else:
                advice = f"Step {self._saved_step} is saved; go on from there with a lower learning rate: "
                advice += f"deeplstm resume {self.run.path} --lr {self._rate / 10:.2g}"
            raise InputError(
                f"The {name} became {value} at step {step} (epoch {step / self.windows:.2f}), where a finite number was "
                f"expected, and training stopped. {advice}"
            )

    def _count(self) -> None:
        position, seconds = self.position, time.perf_counter() - self._began
        position.step += 1
        position.targets += self._targets
        position.seconds += seconds
        position.row_loss += self._loss * self._targets
        position.row_targets += self._targets
        position.row_seconds += seconds
        self._show()

    def _validate(self) -> dict[str, float]:
        measured = {name: float(value) for name, value in self.problem.validate().items()}
        self._require_finite("validation loss", measured["loss"], self.position.step)
        position = self.position
        position.valid_loss = measured["loss"]
        if measured["loss"] < position.best_loss:
            position.best_loss, position.best_step = measured["loss"], position.step
            position.validations_since_best = 0
        else:
            position.validations_since_best += 1
        self._show()
        return measured

    def _write_row(self, measured: dict[str, float]) -> None:
        position = self.position
        row = {
            "step": position.step,
            "epoch": position.step / self.windows,
            "loss": position.row_loss / position.row_targets,
            **{f"valid_{name}": value for name, value in measured.items()},
            "lr": self._rate,
            "gradient_norm": self._norm,
            "targets_per_second": position.row_targets / position.row_seconds,
            "seconds": position.seconds,
        }
        for logger in self.trainer.loggers:
            logger.log_metrics(row, position.step)
        position.row_loss, position.row_targets, position.row_seconds = 0.0, 0, 0.0

    @property
    def _save_is_due(self) -> bool:
        if self.options.save_every is not None:
            return self.position.step % self.options.save_every == 0
        return time.monotonic() - self._saved_at >= max(SECONDS_BETWEEN_SAVES, self._save_took / SHARE_OF_SAVING)

    def _save(self) -> None:
        began = time.monotonic()
        for logger in self.trainer.loggers:
            logger.save()
        self.trainer.save_checkpoint(self.run.resume)
        # Stopped before the first validation, the run gets the weights it has, so that it can be used.
        if self.position.best_step == self.position.step or not self.run.weights.exists():
            self.run.write_weights(self.network)
        self._saved_at, self._saved_step = time.monotonic(), self.position.step
        self._save_took = self._saved_at - began

    def _show(self) -> None:
        position, start = self.position, self._at_start
        per_second = (position.targets - start.targets) / max(position.seconds - start.seconds, 1e-9)
        parts = [f"loss {self._loss:.3f}"]
        if position.valid_loss is not None:
            parts.append(f"valid {position.valid_loss:.3f}")
        self.display.update(position.step, "  ".join([*parts, f"{per_second:,.0f} {self.problem.unit}/s"]))


class Endless:
    """The training data over and over, from a step on."""

    def __init__(self, batches: Batches, first: int) -> None:
        self.batches, self.first = batches, first

    def __iter__(self) -> Iterator[Any]:
        return (self.batches[step % len(self.batches)] for step in itertools.count(self.first))


def _keep(state: State) -> State:
    """The state by value: out of the graph, and with the strides and alignment it would have coming from a checkpoint.

    A kernel may round differently for another layout, and then a resumed training would differ in the last bit.
    """
    return map_state(lambda part: part.detach().clone(memory_format=torch.contiguous_format), state)
