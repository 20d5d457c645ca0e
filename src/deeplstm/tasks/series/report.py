"""A page about a series run: what its network does with a table, row by row."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import deeplstm
from deeplstm.errors import InputError
from deeplstm.inspect.report.collect import MOST_STEPS, Curve, affordable_steps, collect, memory_curves
from deeplstm.inspect.report.network import source_block
from deeplstm.inspect.report.numbers import MOST_INPUTS, MOST_NUMBERS, MOST_OUTPUTS
from deeplstm.inspect.words import counted
from deeplstm.tasks.page import described, loss_curves
from deeplstm.tasks.series.metrics import Rows, Score, score_rows
from deeplstm.tasks.series.problem import SeriesProblem
from deeplstm.tasks.series.rows import load_rows
from deeplstm.tasks.series.runs import LOSS, load
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.series.table import read_table
from deeplstm.training.run_folder import Run


def report(
    run: str | os.PathLike[str], table: str | os.PathLike[str] | None = None, *, steps: int = 2000
) -> dict[str, Any]:
    """What there is to show of a run and a table, for `deeplstm.inspect.report.page.render`.

    The first row is read and not shown: there is nothing that it was predicted from.

    Args:
        run: folder of the run.
        table: file to read; None: the run's validation rows.
        steps: rows of it, at most; a note on the page says what was cut.

    Raises: InputError for a run or a table that cannot be used, before anything is drawn.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"steps={steps}, but a page shows from 1 to {MOST_STEPS:,}: give a number of these.")
    network, scaler, config = load(run)
    losses, notes = loss_curves(Run.open(run), SeriesProblem.metrics, LOSS, "a mean squared error of {}")
    rows, source = _read(Run.open(run), table, scaler)
    wanted = min(steps, len(rows) - 1, affordable_steps(network, torch.from_numpy(np.array(rows[:2]))[:, None]))
    shown = np.array(rows[: wanted + 1])
    x = torch.from_numpy(shown)
    seen = deeplstm.trace(network, x[:, None])
    predicted = seen.y[:-1, 0].numpy()  # y at row t is about row t + 1
    curves, left_out = _curves(scaler, shown[1:], predicted)
    data = collect(
        network,
        seen,
        [],
        title=Path(run).resolve().name,
        about="",
        unit="row",
        skip=1,
        first=2,
        curves=curves,
        memory=memory_curves(network, x, "row"),
        loss=losses,
    )
    count = data["steps"]["count"]
    data["about"] = f"{described(config.model)}, reading rows 2 to {count + 1:,} of {source}"
    data["notes"] += notes + left_out
    if count < len(rows) - 1 and (table is not None or count < steps):
        why = ": a page holds no more of them with all values of all units" if count < min(steps, len(rows) - 1) else ""
        data["notes"].append(f"Of {source} the first {counted(count + 1, 'row')} are read{why}.")
    data["facts"] = _facts(
        network.parameter_counts(), losses, score_rows(network, shown[: count + 1], scaler), table is None
    )
    width = len(scaler.columns)
    data["network"] = [source_block("row", counted(width, "column"), gives=f"{width:,}"), *data["network"]]
    return data


def _read(run: Run, table: str | os.PathLike[str] | None, scaler: Scaler) -> tuple[Rows, str]:
    """Rows in standard units, and what they are."""
    if table is None:
        if not (run.data / "valid.npy").exists():
            raise InputError(
                f"{run.path} holds no validation rows (data/valid.npy): give a table to read with --data FILE."
            )
        return load_rows(run.data / "valid.npy", scaler), "its validation rows"
    rows = scaler.standard(read_table(table, scaler.names).values)
    if len(rows) < 2:
        raise InputError(f"{table} has 1 row, but a row is predicted from one before it: give two or more.")
    return rows, Path(table).name


def _curves(scaler: Scaler, rows: Rows, predicted: NDArray[np.float32]) -> tuple[list[Curve], list[str]]:
    """Columns in their own units, each target with what was predicted over it; and what there is no room for, in words."""
    targets, names = list(scaler.targets), scaler.names
    others = [n for n in range(len(names)) if n not in targets]
    most_outputs = min(MOST_OUTPUTS, len(targets))
    most_inputs = max(1, min(MOST_INPUTS, MOST_NUMBERS // len(rows) - most_outputs))
    drawn = sorted([*targets, *others][:most_inputs])
    own, expected = scaler.own_columns(rows), scaler.own(predicted)
    curves = [Curve(names[n], "input", own[:, n]) for n in drawn]
    pairs = [(place, n) for place, n in enumerate(targets) if n in drawn][:most_outputs]
    curves += [
        Curve(_free(f"{names[n]}, predicted", names), "output", expected[:, place], names[n]) for place, n in pairs
    ]
    notes = []
    if len(drawn) < len(names):
        notes.append(f"Of {counted(len(names), 'column')} {len(drawn):,} are shown as curves.")
    if len(pairs) < len(targets):
        notes.append(f"Of {counted(len(targets), 'target')} {len(pairs):,} are shown with what was predicted.")
    return curves, notes


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else _free(f"{name}'", taken)


def _facts(counts: dict[str, int], losses: dict[str, Any] | None, score: Score, validation: bool) -> list[list[str]]:
    facts = [["parameters", f"{counts['total']:,}"]]
    if losses and losses["valid"]["y"]:
        facts.append(["best validation loss", f"{min(losses['valid']['y']):.4g}"])
    which = "these" if validation else "this table's"
    return [
        *facts,
        [f"squared error of {which} {counted(score.rows, 'row')}", f"{score.mse:.4g}"],
        ['saying "as in the row before"', f"{score.naive_mse:.4g}"],
    ]
