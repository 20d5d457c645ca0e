"""`deeplstm train series`: from a table of numbers to a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from deeplstm.cli.arguments import free_folder
from deeplstm.tasks.series.choices import SeriesConfig
from deeplstm.tasks.series.config import SeriesData, SeriesModel, SeriesTraining

DATA, MODEL, TRAINING = SeriesData(), SeriesModel(), SeriesTraining()
Flag = Parameter(negative=())


def train_series(
    file: Path,
    /,
    *,
    out: Path | None = None,
    config: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Flag] = False,
    data: Annotated[SeriesData, Parameter(group=Group("Table", sort_key=1))] = DATA,
    model: Annotated[SeriesModel, Parameter(group=Group("Network", sort_key=2))] = MODEL,
    training: Annotated[SeriesTraining, Parameter(group=Group("Training", sort_key=3))] = TRAINING,
) -> int:
    """Train a network to predict each row of a table from those before it, and keep it in a run folder.

    Rows follow each other in time, at equal distances. Lists are written a,b; "none" leaves out what has a default.

    Parameters
    ----------
    file:
        The table: CSV with a header and commas, or Parquet.
    out:
        Folder to make for the run. Left out: a new one under runs.
    config:
        TOML file with options, such as another run's config.toml; the command line wins over it.
    overwrite:
        Replace an existing run.
    quiet:
        Show nothing but errors.
    """
    choices = SeriesConfig(data=data, model=model, training=training)
    choices.require()  # before torch takes its time to load
    from deeplstm.tasks.series.runs import train
    from deeplstm.tasks.series.summary import show

    out = out or free_folder(Path("runs", file.stem))
    result = train(file, out, choices, overwrite=overwrite, quiet=quiet)
    if not quiet:
        show(result)
    return 0
