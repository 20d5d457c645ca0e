"""Training a network: Lightning's loop over one long row of steps, so that a position in it is a single number.

Batch number `step` is window `step % n` of epoch `step // n`, where an epoch has n windows. What a step depends on is
the weights, the optimiser, the random generators, the carried state and that number: resume.ckpt holds all of them,
and a training that is killed and resumed goes through the same bits as one that never stopped.
"""

from dataclasses import dataclass
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from deeplstm.errors import InputError
from deeplstm.training.checkpoint import AtomicCheckpoints, read_checkpoint
from deeplstm.training.config import Training
from deeplstm.training.interrupt import Interrupted, StopNow
from deeplstm.training.loggers import CsvLogger, tensorboard_logger
from deeplstm.training.loop import Loop, columns
from deeplstm.training.metrics import MetricsFile
from deeplstm.training.problem import Problem
from deeplstm.training.progress import display
from deeplstm.training.run_folder import Run
from deeplstm.training.surroundings import device, no_chatter, threads


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
    """Train `problem.network` as `training` says, keeping everything in the folder of `run`.

    Afterwards the network holds the best weights, which are also in `run.weights`; the latest are in `run.resume`.

    Arguments:
        resume: go on from `run.resume`. Without that file, start at the first step (the run was killed before its first
            save). More steps than before may be asked for.
        quiet: say nothing on stderr.

    Raises:
        InputError: a damaged or foreign file in the folder; a loss or gradient that is no longer finite.
        Interrupted: Ctrl-C or SIGTERM; the training has been saved.
        OSError: a save failed (full disk); the previous checkpoint is whole.
    """
    with no_chatter(), threads(training.threads):
        loop = Loop(problem, training, run, display(quiet))
        table = MetricsFile(run.metrics, columns(problem.metrics))
        resuming = resume and _restore(loop, run)
        if resuming:
            table.cut(loop.position.step)
        else:
            table.start()
        if loop.position.step < loop.total and not loop.out_of_patience:
            _run(loop, training, run, table, resuming)
    run.read_weights(problem.network)
    position = loop.position
    return Outcome(
        steps=position.step,
        reason="patience" if loop.out_of_patience else "complete",
        best_loss=position.best_loss,
        best_step=position.best_step,
        seconds=position.seconds,
        targets_per_second=position.targets / max(position.seconds, 1e-9),
    )


def _restore(loop: Loop, run: Run) -> bool:
    """Stand the loop where the checkpoint says; False if there is none yet."""
    for stray in run.path.glob(".*.tmp"):  # of a process that was killed while it wrote
        stray.unlink()
    if run.resume.exists():
        loop.restore(read_checkpoint(run.resume, loop.network, loop.identity))
        return True
    if run.weights.exists():
        raise InputError(
            f"{run.resume} does not exist, but {run.weights.name} does: this copy of the run has weights to use and nothing "
            "to resume from. Put the file back, or train a new run."
        )
    return False


def _run(loop: Loop, training: Training, run: Run, table: MetricsFile, resuming: bool) -> None:
    loggers: list[Logger] = [CsvLogger(table)]
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
        trainer.fit(loop, ckpt_path=run.resume if resuming else None, weights_only=True)
    except StopNow:
        raise Interrupted(f"Stopped at once; {go_on}", loop.interruption.status) from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if loop.started or not resuming:
            raise
        raise InputError(f"{run.resume} is damaged: {error!r}. Put this run's own file back.") from error
    finally:
        loop.interruption.stop()
        loop.display.stop()
    if loop.interruption.signal is not None:
        raise Interrupted(f"Stopped after step {loop.position.step} and saved; {go_on}", loop.interruption.status)
