"""What the two text results share: a run in benchmarks/out, trained, gone on with, or read as it is, and its scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import OUT
from deeplstm import InputError
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.encoded import Encoded
from deeplstm.tasks.text.model import TextNetwork
from deeplstm.tasks.text.problem import TextProblem
from deeplstm.tasks.text.runs import load, resume, train
from deeplstm.tasks.text.vocabulary import Vocabulary
from deeplstm.training.loop import columns
from deeplstm.training.metrics import MetricsFile, Row
from deeplstm.training.run_folder import Run


class Trained(NamedTuple):
    """A complete run."""

    network: TextNetwork
    """With the weights that were best on the validation text."""
    vocabulary: Vocabulary
    folder: Path
    validations: list[Row]
    """The rows of metrics.csv with a validation, one for each epoch."""
    story: str
    """When it was trained; date and commit beside a table are those of its printing."""

    def encoded(self, part: str) -> Encoded:
        """The tokens of "train", "valid" or "test"."""
        return Encoded.load(self.folder / "data" / f"{part}.bin", self.vocabulary)


def trained(name: str, files: Sequence[Path], config: TextConfig) -> Trained:
    """The run `name` in benchmarks/out, trained from where it stands: not yet, in part, or completely.

    Raises: InputError for a run of this name that was made with other settings.
    """
    folder = OUT / name
    story = "trained in this run of the script"
    if not folder.exists():
        train(files, folder, config)
    elif load(folder)[2] != config:
        raise InputError(
            f"{folder} was trained with other settings than this script's. Move it away or delete it, and start again."
        )
    elif Run.open(folder).sample.exists():  # written last
        story = "trained before, scored now"
    else:
        resume(folder)
        story = "trained in several runs of the script"
    network, vocabulary, _ = load(folder)
    rows = MetricsFile(Run.open(folder).metrics, columns(TextProblem.metrics)).read()
    return Trained(network, vocabulary, folder, [row for row in rows if "valid_loss" in row], story)
