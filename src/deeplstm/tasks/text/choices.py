"""Everything there is to choose about a text run, in one tree of options. Importing it does not import torch."""

from dataclasses import dataclass, field

from deeplstm.tasks.choices import Choices
from deeplstm.tasks.text.config import TextData, TextModel
from deeplstm.training.config import Training as Training


@dataclass(frozen=True, kw_only=True)
class TextConfig(Choices):
    """The text, the network that reads it and how it is trained: the content of a text run's config.toml."""

    data: TextData = field(default_factory=TextData)
    model: TextModel = field(default_factory=TextModel)
    training: Training = field(default_factory=Training)
