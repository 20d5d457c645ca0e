"""`deeplstm evaluate`: how well a trained network predicts a text or a table."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from deeplstm.cli.tasks import task_of


def evaluate(
    run: Path,
    file: Path,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure how well a trained network predicts a text or a table: all of it once, the state carried from first to last.

    Parameters
    ----------
    run:
        Folder of the run.
    file:
        Of a text run: text file, UTF-8. Of a series run: table with the columns that the network reads, CSV or Parquet.
    device:
        Where it runs; auto takes the GPU if there is one.
    threads:
        CPU threads. A single stream leaves little to share; more than one helps wide networks only.
    quiet:
        Show no progress.
    """
    measure = {"text": _text, "series": _series}[task_of(run)]
    from deeplstm.training.surroundings import device as chosen
    from deeplstm.training.surroundings import threads as using

    with using(threads):
        tables = measure(run, file, chosen(device), quiet)
    console = Console()
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)
    return 0


def _text(run: Path, file: Path, device: Any, quiet: bool) -> list[Any]:
    from deeplstm.tasks.text.corpus import encode
    from deeplstm.tasks.text.metrics import evaluate as score_of
    from deeplstm.tasks.text.runs import load
    from deeplstm.tasks.text.summary import score_table
    from deeplstm.training.progress import showing

    network, vocabulary, _ = load(run)
    network.to(device)
    with tempfile.TemporaryDirectory() as folder, showing(quiet, "tokens") as hear:
        encoded = encode([file], vocabulary, Path(folder) / "text.bin")
        score = score_of(network, encoded.open(), vocabulary, progress=hear)
    return [score_table({str(file): score})]


def _series(run: Path, file: Path, device: Any, quiet: bool) -> list[Any]:
    from deeplstm.tasks.series.metrics import evaluate as score_of
    from deeplstm.tasks.series.runs import load
    from deeplstm.tasks.series.summary import score_table, target_table
    from deeplstm.tasks.series.table import read_table
    from deeplstm.training.progress import showing

    network, scaler, _ = load(run)
    network.to(device)
    with showing(quiet, "rows") as hear:
        score = score_of(network, read_table(file, scaler.names).values, scaler, progress=hear)
    return [score_table({str(file): score}), target_table(score)]
