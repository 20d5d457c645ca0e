"""What a user can choose about a table and a model of it. Dataclasses only: options are read without torch."""

from dataclasses import dataclass
from pathlib import Path

from deeplstm.tasks.complaints import Complaints, default, shown
from deeplstm.tasks.network.config import Network
from deeplstm.training.config import Training


@dataclass(frozen=True, kw_only=True)
class SeriesData:
    """The table: which of its columns are read and predicted, and which of its rows are held out."""

    columns: tuple[str, ...] = ()
    """Names of the columns that are read. Left out: every column of numbers."""
    targets: tuple[str, ...] = ()
    """Names of the columns, of those that are read, that are predicted. Left out: all of them."""
    valid: Path | None = None
    """Table to validate on. None: the last rows of the training table."""
    test: Path | None = None
    """Table to test on once, after training."""
    valid_fraction: float = 0.1
    """Share of the training table, at its end, to validate on where no valid table is given."""

    def check(self) -> list[str]:
        """Every complaint about these choices, one line each; empty if they make sense together."""
        complaints = Complaints("data", self)
        for name in ("columns", "targets"):
            names = getattr(self, name)
            complaints.unless(len(set(names)) == len(names), name, "a column is read once", "name each at most once")
        unread = [name for name in self.targets if self.columns and name not in self.columns]
        complaints.unless(
            not unread,
            "targets",
            f"what is predicted is also read, and columns={shown(self.columns)} leaves out {', '.join(unread)}",
            "name it in columns as well",
        )
        complaints.unless(
            0 < self.valid_fraction < 1,
            "valid_fraction",
            "a share of the table is above 0 and below 1",
            "give for example 0.1",
        )
        complaints.unless(
            self.valid is None or self.valid_fraction == default(self, "valid_fraction"),
            "valid_fraction",
            "nothing is cut from the training table when a valid table is given",
            "leave one of the two out",
        )
        return complaints.lines


@dataclass(frozen=True, kw_only=True)
class SeriesModel(Network):
    """The network: recurrent layers that read the columns, with depth wherever it is wanted, and an output layer."""

    layers: int = 1
    """Number of recurrent layers."""
    width: int = 64
    """Hidden units of every layer."""


@dataclass(frozen=True, kw_only=True)
class SeriesTraining(Training):
    """How a network is trained on a table, which is shorter than a text: fewer rows a step, and more passes."""

    epochs: float = 30.0
    """Passes over the training data; a fraction stops in the middle of one."""
    batch_size: int = 8
    """Stretches of the table trained on at the same time."""
    window: int = 48
    """Time steps back-propagation goes back through; the state is carried on beyond them."""
