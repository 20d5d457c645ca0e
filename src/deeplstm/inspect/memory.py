"""How far back the outputs of a model look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .lags import by_lag, draw_steps, frozen, input_squares, lengths_of, reads_numbers, root_mean
from .record import Sequence as Recorded
from .run import check_model, differentiable, recorded, split_result, time_major
from .words import counted

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure


class Memory:
    """What `memory` found: how strongly an output depends on the input k steps before it. Prints as a list.

    Attributes:
        layers: layer name -> (K,), of the layer's output with respect to its own input, k = 0 .. K - 1; NaN for lags that no
            row has steps for.
        errors: layer name -> (K,), the standard error of each of these numbers.
        whole: (K,), of the model's output with respect to the input of its first recurrent layer; None where the model's
            output is no tensor with a row for every row of the batch.
        ahead: (K,), the same for inputs k steps after the output; None where no layer runs in reverse.
        samples: how many backward passes were drawn for each.
    """

    def __init__(
        self, layers: dict[str, tuple[Tensor, Tensor]], whole: Tensor | None, ahead: Tensor | None, samples: int
    ) -> None:
        self.layers = {name: norms for name, (norms, _) in layers.items()}
        self.errors = {name: errors for name, (_, errors) in layers.items()}
        self.whole, self.ahead, self.samples = whole, ahead, samples

    @property
    def curves(self) -> dict[str, Tensor]:
        """Every curve by name: the layers', "model" and "model ahead"."""
        others = {"model": self.whole, "model ahead": self.ahead}
        return {**self.layers, **{name: curve for name, curve in others.items() if curve is not None}}

    def reach(self, share: float = 0.9) -> dict[str, int]:
        """For every curve the number of steps back within which this share of its sum lies."""
        if not 0 < share <= 1:
            raise ValueError(f"reach got share={share!r}, but a number above 0 and up to 1 is expected.")
        found = {}
        for name, curve in self.curves.items():
            sums = curve.nan_to_num().cumsum(0)
            found[name] = int((sums < share * sums[-1]).sum())
        return found

    def to_frame(self) -> polars.DataFrame:
        """One row for each curve and lag: layer, lag, norm, error (none for those of the model)."""
        from .frame import memory_frame

        return memory_frame(self)

    def plot(self) -> Figure:
        """The curves over the lag, with a logarithmic axis."""
        from .plot import plot_memory

        return plot_memory(self)

    def __repr__(self) -> str:
        lines = []
        for name, k in self.reach().items():
            shown = int((~self.curves[name].isnan()).sum())  # lags beyond the sequence's length have no number
            show = "shows" if shown == 1 else "show"
            lines.append(f"{name}: 90 % of what {counted(shown, 'step')} {show} lies within {k}")
        return "\n".join(lines)


def memory(
    model: nn.Module,
    x: Any,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    lags: int | None = None,
    samples: int = 16,
    seed: int = 0,
    **kwargs: Any,
) -> Memory:
    """How far back each output looks: the norm of the gradient of the output at t with respect to the input at t - k.

    (1) J_t,k = d y_t / d x_(t-k)     a matrix for each row        (2) norm_k = sqrt(mean of |J_t,k|^2 over t and rows)

    |J| is the Frobenius norm. (2) is estimated: for random signs v, the mean of |v J|^2 is |J|^2. A sample is one backward
    pass: for every row one step t is drawn, with K steps behind it where the row has so many, and one vector of signs. So
    the relative error of a norm is at most sqrt(1 / (2 samples B)) and what the steps t differ; ``errors`` has the standard
    error that the samples show. The cost is (layers + 1) * samples backward passes, without gradients of weights.

    Each layer is looked at alone, its output against its own input; the whole model from its output to the input of its
    first recurrent layer. A layer that runs in reverse looks ahead: its lag k is the input at t + k.

    Args:
        model: as in `trace`. x, state, lengths, kwargs: what it is called with, as in `trace`.
        lags: K, how many steps back, this one included; None: half of the steps.
        samples: backward passes for each layer and for the model.
        seed: of what is drawn.

    Returns: a `Memory`.
    Raises: ValueError for numbers out of range, and where no recurrent layer ran or none reads numbers; what the model raises.

    >>> import torch, deeplstm
    >>> found = deeplstm.memory(deeplstm.GRU(3, 4, num_layers=2), torch.randn(20, 2, 3), lags=10)
    >>> found.layers["layer 2"].shape
    torch.Size([10])
    """
    for name, number in (("lags", lags), ("samples", samples)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise ValueError(f"memory got {name}={number!r}, but a whole number of at least 1 is expected.")
    check_model("memory", model)
    model = differentiable(model)
    with frozen(model):
        recording = recorded("memory", model, x, state, lengths, kwargs, (), grad=True)
        sequences = [s for s in recording.sequences if reads_numbers(s) and s.steps]
        if not sequences:
            raise ValueError("memory: no recurrent layer reads a step of numbers, so there is no gradient to look at.")
        K = max(1, sequences[0].steps // 2) if lags is None else lags
        draw = torch.Generator().manual_seed(seed)
        layers = {s.name: _curve(s.y(), s, K, s.reverse, samples, draw) for s in sequences}
        y = time_major(split_result(recording.result)[0], sequences[0], model)
        whole = ahead = None
        if y is not None:
            reverse = any(s.reverse for s in sequences)
            whole = _curve(y, sequences[0], K, False, samples, draw)[0]
            ahead = _curve(y, sequences[0], K, True, samples, draw)[0] if reverse else None
    return Memory(layers, whole, ahead, samples)


def _curve(
    y: Tensor, sequence: Recorded, lags: int, ahead: bool, samples: int, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(2) and its standard error. Shapes: y (T, B, O), or (1, B, O) for one output at the end of each row."""
    lengths = lengths_of(sequence)
    found = []
    for _ in range(samples):
        at = draw_steps(lengths, lags, ahead, draw) if len(y) == sequence.steps else lengths - 1
        rows = torch.arange(y.shape[1])[at >= 0]
        signs = torch.randint(0, 2, y.shape[1:], generator=draw, dtype=torch.int8) * 2 - 1
        v = torch.zeros_like(y)
        v[at[rows] if len(y) == sequence.steps else 0, rows] = signs[rows].to(v)
        (squares,) = input_squares(y, [sequence], v)
        found.append(by_lag(squares, at, lengths, lags, ahead))
    return root_mean(torch.cat(found, dim=1))
