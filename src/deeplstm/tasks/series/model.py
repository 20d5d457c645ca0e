"""The network of a series model, put together from what the user chose."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deeplstm.errors import InputError
from deeplstm.tasks.network.build import draw_uniformly, parts
from deeplstm.tasks.series.config import SeriesModel


def build(model: SeriesModel, columns: int, targets: Sequence[int]) -> "SeriesNetwork":
    """The network that `model` describes, for a table of so many columns, of which `targets` (their numbers) are predicted.

    Raises: InputError with every choice that is out of range or does not fit the others.
    """
    if complaints := model.check(columns):
        raise InputError(" ".join(complaints))
    return SeriesNetwork(model, columns, targets)


class SeriesNetwork(nn.Module):
    """The next row's targets, at every row of a table.

    (1) y, state = core(before(dropout(x)), state)
    (2) prediction = x[targets] + W after(dropout(y)) + b      all of it in standard units

    The network predicts how much each target changes. W and b begin at zero, whatever `init` says, so that a network that has
    learned nothing says "as now", which for many series is hard to beat.

    Shapes: x (T, B, columns) -> prediction of the row after each (T, B, targets); state is what the call before returned, None
        for zeros.
    """

    targets: Tensor

    def __init__(self, model: SeriesModel, columns: int, targets: Sequence[int]) -> None:
        super().__init__()
        self.columns = columns
        self.dropout, self.before, self.core, self.after = parts(columns, model)
        self.output = nn.Linear(model.read_width, len(targets))
        # no buffer of the weights file: scaler.json says which columns are targets
        self.register_buffer("targets", torch.tensor(targets), persistent=False)
        if model.init is not None:
            draw_uniformly(self, model.init)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if x.dim() != 3 or x.shape[-1] != self.columns or not x.is_floating_point():
            raise ValueError(
                f"SeriesNetwork got x of shape {tuple(x.shape)} and {x.dtype}, but asks for (T, B, {self.columns}) in floats. "
                "Put time first, and give every column that the network was made for."
            )
        y, state = self.core(self.before(self.dropout(x)), state)
        change = self.output(self.after(self.dropout(y)))  # (T, B, targets)
        return x[..., self.targets] + change, state

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers: core (hidden layers before and after it included), output, total."""
        core = sum(p.numel() for module in (self.before, self.core, self.after) for p in module.parameters())
        output = sum(p.numel() for p in self.output.parameters())
        return {"core": core, "output": output, "total": core + output}
