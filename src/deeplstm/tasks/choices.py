"""What the choices of every task have in common. Importing it does not import torch."""

from dataclasses import dataclass, fields

from deeplstm.errors import InputError
from deeplstm.training.options import joined


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A tree of options, the content of a run's config.toml: each field is a dataclass with `check`."""

    def require(self, what: str = "These options") -> None:
        """InputError with every complaint about the choices, if there is one; `what` says where they come from."""
        if complaints := [line for field in fields(self) for line in getattr(self, field.name).check()]:
            raise InputError(joined(f"{what} cannot be used", complaints))
