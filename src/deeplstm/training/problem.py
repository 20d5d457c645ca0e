"""What `fit` asks of a task: a network, batches in order, a loss, and a validation."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

State = Any
"""What a recurrent network carries on: None, a tensor, or tuples of states."""


class Batches(Protocol):
    """One pass over the training data: any batch of it by its number, so that training can resume at any step."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Loss(NamedTuple):
    """What a batch came to."""

    objective: Tensor
    """Scalar that the optimiser lowers."""
    mean: Tensor
    """Scalar that people compare: the mean over the targets."""
    targets: int
    """How many targets the mean is over."""
    state: State
    """The state after the batch, for the next one to start from."""


class Problem(Protocol):
    """A task that `fit` can train. Batches are tensors, or tuples of them, on the CPU; `fit` moves them."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def train(self) -> Batches: ...

    @property
    def unit(self) -> str:
        """What one target is called, in the plural: "characters", "words", ..."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `validate` returns, in the order of the columns of metrics.csv; "loss" is among them."""

    def loss(self, batch: Any, state: State) -> Loss:
        """What a batch comes to, starting from `state` (None: the beginning)."""

    def validate(self) -> Mapping[str, float]:
        """The metrics of the held-out data. The network is in training mode before and after, not in between."""
