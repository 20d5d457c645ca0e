"""A stream beside the model's forward over the whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import deeplstm
from checks import flat

CHUNKS = ((1, 1, 1, 1, 1, 1, 1), (7,), (3, 0, 1, 2, 1))
"""Ways of cutting seven steps."""


def whole(model: nn.Module, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """The model's forward on the reference backend, in evaluation mode; the model's mode is given back."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), deeplstm.backend("reference"):
            return model(x, state)
    finally:
        for module, mode in training:
            module.training = mode


def chunked(stream: deeplstm.Stream, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Feed x (T, B, ...) in chunks of these sizes; a chunk of one goes through ``step``."""
    parts = x.split(sizes)
    return torch.cat([stream.step(part[0])[None] if len(part) == 1 else stream.feed(part) for part in parts])


def assert_streams(stream: deeplstm.Stream, x: Tensor, sizes: tuple[int, ...], **tolerance: Any) -> None:
    """A stream from its initial state gives what the model's forward gives, and ends in the same state."""
    y, state = whole(stream.model, x)
    torch.testing.assert_close(chunked(stream, x, sizes), y, **tolerance)
    for got, want in zip(flat(stream.state), flat(state), strict=True):
        torch.testing.assert_close(got, want, **tolerance)
