"""What a training on a table came to, for people to read."""

import math
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deeplstm.tasks.series.metrics import Score
from deeplstm.tasks.series.runs import Result
from deeplstm.tasks.summary import facts, visible


def show(result: Result) -> None:
    """Print scores, sizes, speed and the files worth opening."""
    scores = {"train (its beginning)": result.train, "valid": result.valid}
    if result.test:
        scores["test"] = result.test
    console = Console()
    console.print()
    console.print(score_table(scores))
    console.print()
    console.print(facts(result.outcome, result.parameters, result.unit))
    print(f"\nThe run is in {result.run}: predictions beside the truth in predictions.png, its curves in loss.png.")


def score_table(scores: Mapping[str, Score]) -> Table:
    """A row for each table, in standard units: the network beside "as the row before"."""
    table = _table("table", "mse", "as before", "of it", "mae", "as before", "rows")
    for name, score in scores.items():
        squared = f"{score.mse:.4g}", f"{score.naive_mse:.4g}", _share(score.share)
        table.add_row(escape(visible(name)), *squared, f"{score.mae:.4g}", f"{score.naive_mae:.4g}", f"{score.rows:,}")
    return table


def target_table(score: Score) -> Table:
    """A row for each target: squared errors in standard units, absolute ones in the column's own unit."""
    table = _table("target", "mse", "as before", "of it", "mae, own unit", "as before")
    for one in score.targets:
        squared = f"{one.mse:.4g}", f"{one.naive_mse:.4g}", _share(one.share)
        table.add_row(escape(visible(one.name)), *squared, f"{one.own_mae:.4g}", f"{one.own_naive_mae:.4g}")
    return table


def _table(first: str, *others: str) -> Table:
    caption = 'as before: what saying "as in the row before" comes to'
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column(first, overflow="fold")  # a long path, before a number that is cut
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
