"""What a training on text came to, for people to read."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from deeplstm.tasks.summary import facts, visible
from deeplstm.tasks.text.metrics import Score
from deeplstm.tasks.text.runs import Result


def show(result: Result) -> None:
    """Print scores, sizes, speed, the files worth opening and a sample."""
    scores = {"train (its beginning)": result.train, "valid": result.valid}
    if result.test:
        scores["test"] = result.test
    console = Console()
    console.print()
    console.print(score_table(scores))
    console.print(facts(result.outcome, result.parameters, result.unit))
    # as they are: a console would take brackets for markup and turn tabs into spaces
    print(f"\n{visible(result.sample).rstrip()}\n")
    print(f"The run is in {result.run}: its curves in loss.png, this sample in sample.txt.")


def score_table(scores: Mapping[str, Score]) -> Table:
    """A row for each text."""
    table = Table("text", box=None, pad_edge=False)
    for name in ("nats", "bits per character", "perplexity", "tokens"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        values = (
            f"{score.nats:.4f}",
            f"{score.bits_per_character:.4f}",
            f"{score.perplexity:.2f}",
            f"{score.tokens:,}",
        )
        table.add_row(name, *values)
    return table
