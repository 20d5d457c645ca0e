"""Running a model only to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """What runs inside gives back the random numbers it draws, and leaves the module's buffers as they were.

    It writes to copies that stand in the buffers' place (a batch norm counts what it sees). They are not written back over
    afterwards: a backward pass that comes later still needs them as they are.
    """
    copies = {id(buffer): buffer.clone() for buffer in module.buffers()}
    places = [
        (part, name, buffer)
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    devices = sorted({p.device.index for p in module.parameters() if p.is_cuda})
    try:
        for part, name, buffer in places:
            part._buffers[name] = copies[id(buffer)]
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for part, name, buffer in places:
            part._buffers[name] = buffer
