"""`deeplstm resume`: go on with a run that was stopped, or longer than was planned."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deeplstm.cli.tasks import module_of, task_of


def resume(
    run: Path,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    lr: float | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Go on training a run, exactly as if it had never been stopped.

    Parameters
    ----------
    run:
        Folder of the run.
    epochs:
        New length of the whole training, in passes over the data.
    steps:
        New length of the whole training, in steps.
    lr:
        New learning rate from here on.
    quiet:
        Show nothing but errors.
    """
    task = task_of(run)
    result = module_of(task, "runs").resume(run, epochs=epochs, steps=steps, lr=lr, quiet=quiet)
    if not quiet:
        module_of(task, "summary").show(result)
    return 0
