"""Everything there is to choose about a text run, in one tree of options. Importing it does not import torch."""

from dataclasses import dataclass, field

from deeplstm.errors import InputError
from deeplstm.tasks.text.config import TextData, TextModel
from deeplstm.training.config import Training as Training
from deeplstm.training.options import joined


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text, the network that reads it and how it is trained: the content of a text run's config.toml."""

    data: TextData = field(default_factory=TextData)
    model: TextModel = field(default_factory=TextModel)
    training: Training = field(default_factory=Training)

    def require(self, what: str = "These options") -> None:
        """InputError with every complaint about the choices, if there is one; `what` says where they come from."""
        if complaints := [*self.data.check(), *self.model.check(), *self.training.check()]:
            raise InputError(joined(f"{what} cannot be used", complaints))
