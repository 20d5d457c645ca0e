"""`deeplstm evaluate`: how well a trained network predicts a text."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console


def evaluate(
    run: Path,
    file: Path,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure how well a trained network predicts a text: every token once, the state carried from the first to the last.

    Parameters
    ----------
    run:
        Folder of the run.
    file:
        Text file, UTF-8.
    device:
        Where it runs; auto takes the GPU if there is one.
    threads:
        CPU threads. A single stream of text leaves little to share; more than one helps wide networks only.
    quiet:
        Show no progress.
    """
    from deeplstm.tasks.text import runs as text
    from deeplstm.tasks.text.corpus import encode
    from deeplstm.tasks.text.metrics import evaluate as score_of
    from deeplstm.tasks.text.summary import score_table
    from deeplstm.training.progress import showing
    from deeplstm.training.surroundings import device as chosen
    from deeplstm.training.surroundings import threads as using

    network, vocabulary, _ = text.load(run)
    network.to(chosen(device))
    with tempfile.TemporaryDirectory() as folder, showing(quiet, "tokens") as hear:
        encoded = encode([file], vocabulary, Path(folder) / "text.bin")
        with using(threads):
            score = score_of(network, encoded.open(), vocabulary, progress=hear)
    Console().print(score_table({str(file): score}))
    return 0
