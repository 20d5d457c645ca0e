"""Names for values inside a step, so that they can be asked for over a whole sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_collector: ContextVar[dict[str, Tensor] | None] = ContextVar("deeplstm_marks", default=None)


def mark(value: Tensor, name: str) -> Tensor:
    """Name a value inside a cell; gives the value back.

    What is marked can be traced: ``scan(..., trace=["forget"])`` gives it for every step. A name marked twice in one step
    keeps its last value.

    Shapes: value (B, n).

    >>> import torch, deeplstm
    >>> deeplstm.mark(torch.zeros(2, 3), "forget").shape
    torch.Size([2, 3])
    """
    marks = _collector.get()
    if marks is not None:
        marks[name] = value
    return value


@contextmanager
def collecting() -> Iterator[dict[str, Tensor]]:
    """Collect what is marked inside: name -> value."""
    marks: dict[str, Tensor] = {}
    token = _collector.set(marks)
    try:
        yield marks
    finally:
        _collector.reset(token)
