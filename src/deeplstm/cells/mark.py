"""Names for values inside a step, so that they can be asked for over a whole sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_collector: ContextVar[dict[str, Tensor] | None] = ContextVar("deeplstm_marks", default=None)


def mark(value: Tensor, name: str) -> Tensor:
    """Name a value inside a cell; gives the value back.

    What is marked can be traced: ``scan(..., trace=["forget"])`` gives it for every step. A name marked twice in one step
    keeps its last value. The built-in cells mark their gates and states; their docstrings list the names.

    Shapes: value (B, n).

    >>> import torch, deeplstm
    >>> deeplstm.mark(torch.zeros(2, 3), "forget").shape
    torch.Size([2, 3])
    """
    if torch.compiler.is_dynamo_compiling():  # torch.compile does not know context variables
        return value
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


class UnknownMark(ValueError):
    """A trace names a value that the cell does not mark."""


def found_mark(marks: dict[str, Tensor], name: str) -> Tensor:
    """A marked value by its name. Raises: ValueError for a name that is not marked."""
    if name not in marks:
        raise UnknownMark(
            f"trace names {name!r}, but the cell marks {', '.join(sorted(marks)) or 'nothing'}: choose among these, or "
            f"name the value in the cell with deeplstm.mark(value, {name!r})."
        )
    return marks[name]
