"""The number of rows while a step is captured: a size that it may hand on, and no number that it may compute with.

A program runs for any number of rows. Traced with one of them, a step that divides by it, or branches on it, would be a
program for that one alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .lines import here
from .rows import Unsupported

BATCH = 1_000_003
"""Rows of the traced batch: a prime that no width is, so that the batch dimension is known by its size."""


class Counts(Unsupported):
    """A step computes with the number of rows."""

    def __init__(self, what: str = "the number of rows as a number, not as a size,") -> None:
        super().__init__(what, here())


def is_count(number: float) -> bool:
    """Whether a number is, or comes from, the number of rows."""
    return number != 0 and number % BATCH == 0


class Count(int):
    """The number of rows, or a multiple of it. It equals itself, where shapes are compared; what else is asked of it raises
    `Counts`.
    """

    def __mul__(self, other: Any) -> Any:
        return Count(self.real * other.real) if isinstance(other, int) else self._refuse()

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return self.real == other.real if isinstance(other, Count) else self._refuse()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def _refuse(self, *_: Any) -> Any:
        raise Counts


for _name in (
    *("add", "sub", "truediv", "floordiv", "mod", "divmod", "pow", "and", "or", "xor", "lshift", "rshift"),
    *("radd", "rsub", "rtruediv", "rfloordiv", "rmod", "rdivmod", "rpow", "rand", "ror", "rxor", "rlshift", "rrshift"),
    *("lt", "le", "gt", "ge", "bool", "neg", "pos", "abs", "invert", "float", "int", "round", "trunc", "floor", "ceil"),
):
    setattr(Count, f"__{_name}__", Count._refuse)


class Counting(TorchFunctionMode):
    """While it is active, sizes of tensors that are a number of rows are a `Count`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SIZES:
            return _counted(result)
        if func is Tensor.__len__ and is_count(result):  # of which Python makes a plain number
            raise Counts("len() of a tensor with rows (x.shape[0] is the same)")
        return result


_SIZES = frozenset(
    (
        Tensor.shape.__get__,  # type: ignore[attr-defined]
        Tensor.nbytes.__get__,  # type: ignore[attr-defined]
        Tensor.size,
        Tensor.stride,
        Tensor.numel,
        Tensor.nelement,
        torch.numel,
    )
)


def _counted(sizes: Any) -> Any:
    if isinstance(sizes, int):
        return Count(sizes) if is_count(sizes) else sizes
    return type(sizes)(map(_counted, sizes))
