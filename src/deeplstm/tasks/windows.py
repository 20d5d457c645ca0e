"""Cutting something long into the windows that truncated back-propagation goes through."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeplstm.errors import InputError


class Windows:
    """A sequence as B streams side by side, cut into windows of T steps (Zaremba et al. 2014).

    Stream b is the items from b * n on, with n = items // B. Window i goes on in every stream where window i - 1
    stopped, so a state can be carried from one to the next. Any window can be read at any time. What is left over at
    the end, less than B items and less than a window in each stream, is left out.

    Args:
        sequence: an array whose first dimension is time, or what can be read like one.
        batch_size: B.
        window: T.
        dtype: what the windows are made of.
        what: what the sequence is called when it is too short, and one of its items.

    Shapes: sequence (N, ...); windows[i] is (inputs, targets), each (T, B, ...); targets are the inputs one step later.
    Raises: InputError for a sequence shorter than one window in each stream.
    """

    def __init__(
        self,
        sequence: Any,
        batch_size: int,
        window: int,
        *,
        dtype: Any = np.int64,
        what: tuple[str, str] = ("text", "token"),
    ) -> None:
        needed = batch_size * (window + 1)
        whole, item = what
        if len(sequence) < needed:
            raise InputError(
                f"The {whole} has {len(sequence):,} {item}s, but {batch_size} streams with one window of {window} steps and "
                f"the {item} after it need {needed:,}: lower batch_size or window, or give a longer {whole}."
            )
        self.sequence = sequence
        self.batch_size = batch_size
        self.window = window
        self.dtype = dtype
        self.stream = len(sequence) // batch_size

    def __len__(self) -> int:
        return (self.stream - 1) // self.window

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        first, length = index * self.window, self.window + 1
        begins = range(first, first + self.batch_size * self.stream, self.stream)
        rows = np.stack([self.sequence[begin : begin + length] for begin in begins], axis=1)  # (T + 1, B, ...)
        items = torch.from_numpy(rows.astype(self.dtype, copy=False))
        return items[:-1], items[1:]
