"""Cutting a long text into the windows that truncated back-propagation goes through."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeplstm.errors import InputError
from deeplstm.tasks.text.encoded import Tokens


class Windows:
    """A text as B streams side by side, cut into windows of T steps (Zaremba et al. 2014).

    Stream b is the tokens from b * n on, with n = tokens // B. Window i goes on in every stream where window i - 1
    stopped, so a state can be carried from one to the next. Any window can be read at any time. What is left over at
    the end, less than B tokens and less than a window in each stream, is left out.

    Args:
        ids: token numbers, an array or `Encoded.open()`.
        batch_size: B.
        window: T.

    Shapes: windows[i] is (inputs, targets), each (T, B) int64; targets are the inputs one step later.
    Raises: InputError for a text shorter than one window in each stream.
    """

    def __init__(self, ids: Tokens, batch_size: int, window: int) -> None:
        needed = batch_size * (window + 1)
        if len(ids) < needed:
            raise InputError(
                f"The text has {len(ids):,} tokens, but {batch_size} streams with one window of {window} steps and the "
                f"token after it need {needed:,}: lower batch_size or window, or give a longer text."
            )
        self.ids = ids
        self.batch_size = batch_size
        self.window = window
        self.stream = len(ids) // batch_size

    def __len__(self) -> int:
        return (self.stream - 1) // self.window

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        begin = index * self.window
        rows = read_rows(self.ids, range(begin, begin + self.batch_size * self.stream, self.stream), self.window + 1)
        return rows[:-1], rows[1:]


def read_rows(ids: Tokens, begins: Any, length: int) -> Tensor:
    """Stretches of a text side by side.

    Shapes: B places to begin at -> (length, B) int64.
    """
    rows = np.stack([ids[begin : begin + length] for begin in begins], axis=1)
    return torch.from_numpy(rows.astype(np.int64))
