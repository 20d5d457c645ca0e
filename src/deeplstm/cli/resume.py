"""`deeplstm resume`: go on with a run that was stopped, or longer than was planned."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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
        New length of the whole training, in passes over the text.
    steps:
        New length of the whole training, in steps.
    lr:
        New learning rate from here on.
    quiet:
        Show nothing but errors.
    """
    from deeplstm.tasks.text import runs as text
    from deeplstm.tasks.text.summary import show

    result = text.resume(run, epochs=epochs, steps=steps, lr=lr, quiet=quiet)
    if not quiet:
        show(result)
    return 0
