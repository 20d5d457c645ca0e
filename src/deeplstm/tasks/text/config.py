"""What a user can choose about a text and a model of it. Dataclasses only: options are read without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deeplstm.tasks.complaints import Complaints, default
from deeplstm.tasks.network.config import Cells, Network

Level = Literal["char", "word", "byte"]


@dataclass(frozen=True, kw_only=True)
class TextData:
    """The text: what its tokens are and which part of it is held out."""

    level: Level = "char"
    """What one token is: a character, a word between blanks (each line then ends with `<eos>`), or a byte."""
    valid: Path | None = None
    """Text file to validate on. None: the last part of the training text."""
    test: Path | None = None
    """Text file to test on once, after training."""
    valid_fraction: float = 0.1
    """Share of the training text, at its end, to validate on where no valid file is given."""
    max_words: int | None = None
    """Size of the vocabulary at word level, `<eos>` and `<unk>` included: the most frequent words stay, the
    others become `<unk>`. None: every word."""

    def check(self) -> list[str]:
        """Every complaint about these choices, one line each; empty if they make sense together."""
        complaints = Complaints("data", self)
        complaints.unless(
            0 < self.valid_fraction < 1,
            "valid_fraction",
            "a share of the text is above 0 and below 1",
            "give for example 0.1",
        )
        complaints.unless(
            self.valid is None or self.valid_fraction == default(self, "valid_fraction"),
            "valid_fraction",
            "nothing is cut from the training text when a valid file is given",
            "leave one of the two out",
        )
        complaints.unless(
            self.level == "word" or self.max_words is None,
            "max_words",
            f"only level=word has words to count, and this is level={self.level}",
            "leave it out or choose level=word",
        )
        complaints.unless(
            self.max_words is None or self.max_words >= 3,
            "max_words",
            "a vocabulary holds <eos>, <unk> and at least one word",
            "give 3 or more",
        )
        return complaints.lines


@dataclass(frozen=True, kw_only=True)
class Embedding(Cells):
    """The recurrent layers, and the numbers that stand for a token before them."""

    embedding: int | None = None
    """Numbers that stand for a token. 0: one-hot, nothing learned. None: the width of the first layer (tied:
    the width that the output reads)."""
    tied: bool = False
    """Use the embedding's weights as the output's."""


@dataclass(frozen=True, kw_only=True)
class TextModel(Network, Embedding):  # in this order of bases its options stand beside the widths, in --help and files
    """The network: an embedding, recurrent layers with depth wherever it is wanted, and an output layer."""

    @property
    def embedding_width(self) -> int:
        """Numbers that stand for a token; 0 means one-hot."""
        if self.embedding is None:
            return self.read_width if self.tied else self.cell_widths[0]
        return self.embedding

    def _check_sizes(self, complaints: Complaints) -> None:
        super()._check_sizes(complaints)
        complaints.unless(
            self.embedding is None or self.embedding >= 0, "embedding", "a size is not negative", "give 0 or more"
        )

    def _check_together(self, complaints: Complaints, reads: int | None) -> None:
        super()._check_together(complaints, self.embedding_width or reads)
        complaints.unless(
            not self.tied or self.embedding_width == self.read_width,
            "tied",
            f"the embedding has {self.embedding_width} and the output reads {self.read_width} numbers",
            "make them equal, or leave embedding out",
        )
