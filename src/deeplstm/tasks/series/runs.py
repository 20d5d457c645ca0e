"""Training a network on a table, from a file to a run folder; going on with it; and using it."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeplstm.tasks.runs import introduce, resumed
from deeplstm.tasks.series.choices import SeriesConfig
from deeplstm.tasks.series.metrics import Score, score_rows
from deeplstm.tasks.series.model import SeriesNetwork, build
from deeplstm.tasks.series.picture import draw_predictions
from deeplstm.tasks.series.problem import SeriesProblem, windows
from deeplstm.tasks.series.rows import Split, load_rows, save_rows, split
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.series.table import read_table
from deeplstm.training.curves import draw_curves
from deeplstm.training.files import write_atomic
from deeplstm.training.fit import Fitting, Outcome
from deeplstm.training.loop import columns
from deeplstm.training.metrics import MetricsFile
from deeplstm.training.progress import display
from deeplstm.training.run_folder import FORMAT, Run
from deeplstm.training.surroundings import device, require_available, seeded, threads

TASK = "series"
STRETCH = 1_000_000
"""Rows of the training table, at most, that its final score is taken on."""
LOSS = "mean squared error"
"""What a loss is, in standard units."""


@dataclass(frozen=True)
class Result:
    """What a training came to. The scores are those of the best weights."""

    run: Path
    outcome: Outcome
    train: Score
    """On the beginning of the training table, as long as the validation table (at most a million rows)."""
    valid: Score
    test: Score | None
    parameters: dict[str, int]
    unit: str


def train(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: SeriesConfig | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Result:
    """Train a network on a table of numbers and keep it, and everything about it, in the new folder `out`.

    Arguments:
        file: the table, CSV or Parquet, a row after the other in time.
        config: what to choose; everything left out has a default.
        overwrite: replace an existing run.
        quiet: neither progress nor results on the screen.

    Raises:
        InputError: options or tables that cannot be used (nothing is left behind); a loss that becomes NaN.
        Interrupted: Ctrl-C; the training has been saved, and `resume` goes on with it.
    """
    config = config or SeriesConfig()
    config.require()
    require_available(config.training)
    with Run.create(out, overwrite=overwrite) as making:
        _prepare(file, making, config, quiet)
    return _train(Run.open(out), config, resume=False, quiet=quiet)


def resume(
    out: str | os.PathLike[str],
    *,
    epochs: float | None = None,
    steps: int | None = None,
    lr: float | None = None,
    quiet: bool = False,
) -> Result:
    """Go on with the run in the folder `out`, exactly as if it had never been stopped.

    Arguments:
        epochs, steps: a new length of the whole training; for a run that is complete.
        lr: a new learning rate from here on; for a run that was about to diverge.
    """
    run = Run.open(out)
    config = _choices(run)
    config = replace(config, training=resumed(config.training, run, run.scores, epochs=epochs, steps=steps, lr=lr))
    config.require()
    return _train(run, config, resume=True, quiet=quiet)


def load(run: str | os.PathLike[str]) -> tuple[SeriesNetwork, Scaler, SeriesConfig]:
    """The network of a run with its best weights, in evaluation mode; its scaler, which knows the columns; its choices."""
    folder = Run.open(run)
    config = _choices(folder)
    scaler = Scaler.load(folder.scaler)
    network = _network(config, scaler)
    folder.read_weights(network)
    return network.eval(), scaler, config


def _choices(run: Run) -> SeriesConfig:
    config = run.read_config(TASK, SeriesConfig)
    config.require(f"The options in {run.config}")
    return config


def _network(config: SeriesConfig, scaler: Scaler) -> SeriesNetwork:
    return build(config.model, len(scaler.columns), scaler.targets)


def _prepare(file: str | os.PathLike[str], run: Run, config: SeriesConfig, quiet: bool) -> None:
    """All of the run that is known before training. The rows are kept as the network reads them."""
    table = read_table(file, config.data.columns)
    for name, why in table.left_out.items():
        display(quiet).say(f"{table.file}: column {name!r} is left out: {why}")
    parts, scaler = split(table, config.data)
    windows(parts.train, config)  # says if the table is too short
    _network(config, scaler)  # and if a layer's width does not go with the columns
    run.data.mkdir()
    for name, rows in parts._asdict().items():
        if rows is not None:
            save_rows(rows, run.data / f"{name}.npy")
    scaler.save(run.scaler)
    run.write_config(TASK, config)


def _train(run: Run, config: SeriesConfig, *, resume: bool, quiet: bool) -> Result:
    scaler = Scaler.load(run.scaler)
    parts = _rows(run, config, scaler)
    options = config.training
    # Everything random comes from the seed: first the weights, then the dropout masks, in the order of the steps.
    with run.only_here(), seeded(options.seed), threads(options.threads):
        problem = SeriesProblem(_network(config, scaler), parts.train, parts.valid, scaler, config)
        fitting = Fitting(problem, options, run, resume=resume, quiet=quiet)

        def begin() -> None:
            run.write_config(TASK, config)  # a resumed run may have new choices
            run.scores.unlink(missing_ok=True)  # written last, it says that a run is complete

        introduce(run, problem, options, (len(parts.train), len(parts.valid)), display(quiet).say)
        outcome = fitting.run(begin)
        return _finish(run, config, problem, parts, outcome)


def _rows(run: Run, config: SeriesConfig, scaler: Scaler) -> Split:
    train, valid = (load_rows(run.data / f"{name}.npy", scaler) for name in ("train", "valid"))
    return Split(train, valid, load_rows(run.data / "test.npy", scaler) if config.data.test else None)


def _finish(run: Run, config: SeriesConfig, problem: SeriesProblem, parts: Split, outcome: Outcome) -> Result:
    """Scores, curves and a picture of the predictions of the best weights."""
    network, scaler = problem.network, problem.scaler
    network.to(device(config.training.device))
    stretch = parts.train[: min(len(parts.valid), STRETCH)]
    with threads(1):  # one series is too little to share
        trained, valid = (score_rows(network, rows, scaler) for rows in (stretch, parts.valid))
        test = score_rows(network, parts.test, scaler) if parts.test is not None else None
        network.to("cpu").eval()
        draw_predictions(network, parts.valid, scaler, run.predictions)
    draw_curves(MetricsFile(run.metrics, columns(problem.metrics)).read(), run.curves, LOSS)
    scores: dict[str, Any] = {"train": trained.plain(), "valid": valid.plain(), "test": test and test.plain()}
    write_atomic(run.scores, (json.dumps({"format": FORMAT, **scores}, indent=1, ensure_ascii=False) + "\n").encode())
    return Result(run.path, outcome, trained, valid, test, network.parameter_counts(), problem.unit)
