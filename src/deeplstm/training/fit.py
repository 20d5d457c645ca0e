"""Training a network: Lightning's loop over one long row of steps, so that a position in it is a single number.

Batch number `step` is window `step % n` of epoch `step // n`, where an epoch has n windows. What a step depends on is
the weights, the optimiser, the random generators, the carried state and that number: resume.ckpt holds all of them,
and a training that is killed and resumed goes through the same bits as one that never stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from deeplstm.errors import InputError
from deeplstm.training.checkpoint import AtomicCheckpoints, read_checkpoint, reading
from deeplstm.training.config import Training
from deeplstm.training.interrupt import Interrupted, StopNow
from deeplstm.training.loggers import CsvLogger, tensorboard_logger
from deeplstm.training.loop import Loop, columns
from deeplstm.training.metrics import MetricsFile
from deeplstm.training.problem import Problem
from deeplstm.training.progress import display
from deeplstm.training.run_folder import Run
from deeplstm.training.surroundings import device, no_chatter, require_available, threads


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    steps: int
    reason: Literal["complete", "patience"]
    best_loss: float
    best_step: int
    seconds: float
    """Spent in steps; validations and saves are left out."""
    targets_per_second: float


def fit(problem: Problem, training: Training, run: Run, *, resume: bool = False, quiet: bool = False) -> Outcome:
    """Train `problem.network` as `training` says, keeping everything in the folder of `run`: `Fitting(...).run()`."""
    return Fitting(problem, training, run, resume=resume, quiet=quiet).run()


class Fitting:
    """A training about to begin, or to go on: whatever is wrong with the files of `run` has been said by then.

    Arguments:
        resume: go on from `run.resume`. Without that file, start at the first step (the run was killed before its first
            save). More steps than before may be asked for.
        quiet: say nothing on stderr.

    Raises:
        InputError: a damaged or foreign file in the folder.
        BackendUnavailable: no such device or logger on this machine.
    """

    def __init__(
        self, problem: Problem, training: Training, run: Run, *, resume: bool = False, quiet: bool = False
    ) -> None:
        require_available(training)
        self._training, self._run = training, run
        self._loop = Loop(problem, training, run, display(quiet))
        self._table = MetricsFile(run.metrics, columns(problem.metrics))
        self._resuming = resume and self._restore()
        if self._resuming:
            self._table.cut(self._loop.position.step)
        else:
            self._table.start()

    def _restore(self) -> bool:
        """Stand where the checkpoint says; False if there is none yet."""
        loop, run = self._loop, self._run
        for stray in run.path.glob(".*.tmp"):  # of a process that was killed while it wrote
            stray.unlink()
        if not run.resume.exists():
            if run.weights.exists():
                raise InputError(
                    f"{run.resume} does not exist, but {run.weights.name} does: this copy of the run has weights to use and "
                    "nothing to resume from. Put the file back, or train a new run."
                )
            return False
        with reading(run.resume):
            loop.restore(read_checkpoint(run.resume, loop.network, loop.configure_optimizers(), loop.identity))
        if loop.position.step > loop.total:
            raise InputError(
                f"{run.path} has {loop.position.step:,} steps behind it, more than the {loop.total:,} asked for: ask for more."
            )
        return True

    def run(self, before_first_step: Callable[[], None] = lambda: None) -> Outcome:
        """Train to the end.

        Afterwards the network holds the best weights, which are also in `run.weights`; the latest are in `run.resume`.

        Arguments:
            before_first_step: called when all that was saved has been restored, and nothing has been changed yet.

        Raises:
            InputError: a loss or gradient that is no longer finite.
            Interrupted: Ctrl-C or SIGTERM; the training has been saved.
            OSError: a save failed (full disk); the previous checkpoint is whole.
        """
        loop, position = self._loop, self._loop.position
        loop.before_first_step = before_first_step
        if position.step < loop.total and not loop.out_of_patience:
            with no_chatter(), threads(self._training.threads):
                self._train()
        else:
            before_first_step()
        self._run.read_weights(loop.network)
        return Outcome(
            steps=position.step,
            reason="patience" if loop.out_of_patience else "complete",
            best_loss=position.best_loss,
            best_step=position.best_step,
            seconds=position.seconds,
            targets_per_second=position.targets / max(position.seconds, 1e-9),
        )

    def _train(self) -> None:
        loop, training, run = self._loop, self._training, self._run
        loggers: list[Logger] = [CsvLogger(self._table)]
        if training.tensorboard:
            loggers.append(tensorboard_logger(run, loop.position.step))
        trainer = Trainer(
            max_steps=loop.total,
            accelerator="gpu" if device(training.device).type == "cuda" else "cpu",
            devices=1,
            precision="bf16-mixed" if training.precision == "bf16" else "32-true",
            logger=loggers,
            plugins=[AtomicCheckpoints(), LightningEnvironment()],  # one process, whatever cluster it may be on
            default_root_dir=run.path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        go_on = f"go on with: deeplstm resume {run.path}"
        try:
            loop.interruption.listen()
            trainer.fit(loop, ckpt_path=run.resume if self._resuming else None, weights_only=True)
        except StopNow:
            raise Interrupted(f"Stopped at once; {go_on}", loop.interruption.status) from None
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if loop.started or not self._resuming:
                raise
            raise InputError(f"{run.resume} is damaged: {error!r}. Put this run's own file back.") from error
        finally:
            loop.interruption.stop()
            loop.display.stop()
        if loop.interruption.signal is not None:
            raise Interrupted(f"Stopped after step {loop.position.step} and saved; {go_on}", loop.interruption.status)
