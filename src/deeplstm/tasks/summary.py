"""What any training came to, for people to read."""

import re
from collections.abc import Mapping
from datetime import timedelta

from rich.table import Table

from deeplstm.training.fit import Outcome


def facts(outcome: Outcome, counts: Mapping[str, int], unit: str) -> Table:
    """Sizes, steps and speed.

    Args:
        counts: trainable numbers of each part of the network, and their "total".
        unit: what a target is called.
    """
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if name != "total")
    ended = "" if outcome.reason == "complete" else ", stopped early: no better validation for a while"
    table = Table.grid(padding=(0, 2))
    table.add_row("parameters", f"{counts['total']:,} ({parts})")
    table.add_row("steps", f"{outcome.steps:,}, best at {outcome.best_step:,}{ended}")
    duration = timedelta(seconds=round(outcome.seconds))
    table.add_row("speed", f"{outcome.targets_per_second:,.0f} {unit}/s, {duration} of training")
    return table


def visible(text: str) -> str:
    """Text for a terminal: a network may well write control characters, and a table have some in its names, which a terminal
    would obey.
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)
