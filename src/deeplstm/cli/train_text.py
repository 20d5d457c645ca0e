"""`deeplstm train text`: from text files to a run."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from deeplstm.cli.arguments import free_folder
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.config import Level, TextData, TextModel
from deeplstm.training.config import Training

DATA, MODEL, TRAINING = TextData(), TextModel(), Training()
Flag = Parameter(negative=())


def train_text(
    *files: Path,
    out: Path | None = None,
    config: Path | None = None,
    level: Level | None = None,
    overwrite: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Flag] = False,
    data: Annotated[TextData, Parameter(group=Group("Text", sort_key=1))] = DATA,
    model: Annotated[TextModel, Parameter(group=Group("Network", sort_key=2))] = MODEL,
    training: Annotated[Training, Parameter(group=Group("Training", sort_key=3))] = TRAINING,
) -> int:
    """Train a network to predict text, and keep it in a run folder.

    Without FILES it reads the sources of Python's own library, which every machine has. Lists are written 256,128; "none"
    leaves out what has a default.

    Parameters
    ----------
    files:
        Text files, UTF-8, read one after the other.
    out:
        Folder to make for the run. Left out: a new one under runs.
    config:
        TOML file with options, such as another run's config.toml; the command line wins over it.
    level:
        Short for --data.level, and wins over it.
    overwrite:
        Replace an existing run.
    quiet:
        Show nothing but errors.
    """
    if level is not None:
        data = replace(data, level=level)
    choices = TextConfig(data=data, model=model, training=training)
    choices.require()  # before torch takes its time to load
    from deeplstm.tasks.text.runs import train
    from deeplstm.tasks.text.summary import show

    out = out or free_folder(Path("runs", files[0].stem if files else "python"))
    result = train(files, out, choices, overwrite=overwrite, quiet=quiet)
    if not quiet:
        show(result)
    return 0
