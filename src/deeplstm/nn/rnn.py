"""Torch's RNN, with lengths, resets and a choice of backends."""

from __future__ import annotations

import torch

from ..cells.rnn import RNNCell
from ._drop_in import DropIn


class RNN(DropIn, torch.nn.RNN):
    """`torch.nn.RNN` to the letter, and more: lengths and resets inside the recurrence.

    Constructor, inputs (batched, unbatched, packed), outputs, errors, parameter names and state dicts are those of
    `torch.nn.RNN`, of which this is a subclass; read its documentation. ``forward`` takes two more arguments, both by name:

    * ``lengths`` (B,), steps of each row, in any order, zero allowed: the output is zero beyond them and the state is the one
      at the length, as with a packed sequence.
    * ``resets`` (T, B) bool, (B, T) with ``batch_first``: the state of these rows is zeroed before that step.

    The equations are in `RNNCell`.

    Shapes: input (T, B, I); h (L * D, B, H).
        Returns (output (T, B, D * H), h).
    Raises: what `torch.nn.RNN` raises; ValueError for lengths or resets that do not fit.

    >>> import torch, deeplstm
    >>> net = deeplstm.RNN(3, 4, num_layers=2)
    >>> y, state = net(torch.zeros(5, 2, 3), lengths=[5, 0])
    >>> y.shape
    torch.Size([5, 2, 4])
    """

    def _cell(self, input_size: int) -> RNNCell:
        return RNNCell(input_size, self.hidden_size, self.bias, self.nonlinearity, device="meta")
