"""How much of a loss's gradient reaches the steps before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .lags import by_lag, draw_steps, input_squares, lengths_of, reads_numbers, root_mean
from .record import Sequence
from .run import is_batch_first

SAMPLES = 8


def loss_by_lag(loss: object, sequences: list[Sequence], model: nn.Module) -> dict[str, Tensor]:
    """The norm of the gradient of a loss with respect to each layer's input, by how many steps that lies back.

    Args:
        loss: one number: the lag is counted from each row's last step (of a reverse layer: its first). Or one number for
            each step and row, (T, B), (B, T) for a model with ``batch_first``: for the loss of one step, the mean square over
            8 drawn steps of each row.

    Returns: layer name -> (K,); K is T for one number, T // 2 for many.
    """
    sequences = [s for s in sequences if reads_numbers(s) and s.steps]
    T, B = (sequences[0].steps, sequences[0].rows) if sequences else (0, 0)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise ValueError(f"trace got a loss that gives {_name(loss)}, but a tensor with a gradient is expected.")
    if loss.dim() == 0:
        found = {}
        for s, squares in zip(sequences, input_squares(loss, sequences), strict=True):
            lengths = lengths_of(s)
            at = torch.where(lengths > 0, 0, -1) if s.reverse else lengths - 1
            found[s.name] = root_mean(by_lag(squares, at, lengths, s.steps, s.reverse))[0]
        return found
    if tuple(loss.shape) == (B, T) and (T != B or is_batch_first(model)):
        loss = loss.T
    if tuple(loss.shape) != (T, B):
        raise ValueError(
            f"trace got a loss of shape {tuple(loss.shape)}, but one number or (T, B) = ({T}, {B}) is expected."
        )
    return _of_steps(loss, sequences)


def _of_steps(loss: Tensor, sequences: list[Sequence]) -> dict[str, Tensor]:
    """Shapes: loss (T, B)."""
    draw, lags = torch.Generator().manual_seed(0), max(1, len(loss) // 2)
    found: dict[str, list[Tensor]] = {s.name: [] for s in sequences}
    for ahead in sorted({s.reverse for s in sequences}):
        seen = [s for s in sequences if s.reverse == ahead]
        lengths = lengths_of(seen[0])
        for _ in range(SAMPLES):
            at = draw_steps(lengths, lags, ahead, draw)
            rows = torch.arange(loss.shape[1])[at >= 0]
            one_step = torch.zeros_like(loss)
            one_step[at[rows], rows] = 1
            for s, squares in zip(seen, input_squares(loss, seen, one_step), strict=True):
                found[s.name].append(by_lag(squares, at, lengths, lags, ahead))
    return {name: root_mean(torch.cat(samples, dim=1))[0] for name, samples in found.items()}


def _name(loss: object) -> str:
    return "a tensor without" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
