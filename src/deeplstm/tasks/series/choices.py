"""Everything there is to choose about a series run, in one tree of options. Importing it does not import torch."""

from dataclasses import dataclass, field

from deeplstm.tasks.choices import Choices
from deeplstm.tasks.series.config import SeriesData, SeriesModel, SeriesTraining


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(Choices):
    """The table, the network that reads it and how it is trained: the content of a series run's config.toml."""

    data: SeriesData = field(default_factory=SeriesData)
    model: SeriesModel = field(default_factory=SeriesModel)
    training: SeriesTraining = field(default_factory=SeriesTraining)
