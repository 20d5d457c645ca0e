"""One step of a kernel for an x that is just as it wants it: at a few microseconds a step, looking things up counts.

What is needed is at hand in closures. They give None for whatever they are not made for, and nothing has happened then: the
slow way takes it, or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 16
"""Outputs whose memory is asked for at once, which takes little longer than for one."""
BLOCK_BYTES = 16 * 1024
"""At most this is asked for at once."""

Fast = Callable[[Any, Any], Any]
"""``fast(x, out) -> y``, which is ``out`` where that is not None; None for what is left to the slow way."""


def never(x: Any, out: Any) -> None:
    return None


@dataclass(frozen=True)
class Kernel:
    """One step, as it is called.

    Attributes:
        go: runs it; gives 0, or what `error` makes an exception of.
        context: in which it finds the addresses of x and y, at the entries ``x_at`` and ``y_at``.
        x_shape, y_shape: (B, ...); with one row x may come without the B, and y goes so too.
    """

    go: Callable[[], int]
    error: Callable[[int], Exception]
    context: Any
    x_at: int
    y_at: int
    x_shape: torch.Size
    x_dtype: torch.dtype
    y_shape: torch.Size
    y_dtype: torch.dtype


def fast(watch: Callable[[], Any], stamp: Any, kernel: Kernel) -> Fast:
    """A step for as long as ``watch`` gives ``stamp``.

    Tensors are read and written where they lie; arrays are copied, which takes less time than to ask for their address.
    """
    go, error, context, x_at, y_at = kernel.go, kernel.error, kernel.context, kernel.x_at, kernel.y_at
    x_shape, x_dtype, y_shape, y_dtype = kernel.x_shape, kernel.x_dtype, kernel.y_shape, kernel.y_dtype
    rows, width = y_shape
    x_row, y_row = (x_shape[1:], y_shape[1:]) if rows == 1 else (None, None)
    x_size, y_size = x_shape.numel() * x_dtype.itemsize, y_shape.numel() * y_dtype.itemsize
    block_shape = rows * max(1, min(BLOCK, BLOCK_BYTES // max(1, y_size))), width
    block: list[Tensor] = []  # outputs that nobody has yet, the last first
    end = 0  # where the memory of the first of them starts
    empty, increment_version = torch.empty, torch.autograd.graph.increment_version

    x_own, y_own = torch.zeros(x_shape, dtype=x_dtype), torch.zeros(y_shape, dtype=y_dtype)
    x_own_address, y_own_address, x_array, y_array = x_own.data_ptr(), y_own.data_ptr(), x_own.numpy(), y_own.numpy()
    y_array_row = y_array[0]
    ndarray, x_kind, y_kind = np.ndarray, x_array.dtype, y_array.dtype

    def step(x: Any, out: Any) -> Any:
        nonlocal block, end
        try:
            if watch() != stamp:
                return None
        except (KeyError, AttributeError):
            return None
        kind = type(x)
        if kind is ndarray:
            is_row = (shape := x.shape) != x_shape
            if (is_row and shape != x_row) or x.dtype is not x_kind:
                return None
            y = y_array_row if is_row else y_array
            if out is not None and (
                type(out) is not ndarray or out.shape != y.shape or out.dtype is not y_kind or not out.flags.writeable
            ):
                return None
            x_array[...] = x
            context[x_at] = x_own_address
            context[y_at] = y_own_address
            if bad := go():
                raise error(bad)
            if out is None:
                return y.copy()
            out[...] = y
            return out
        try:
            is_row = (shape := x.shape) != x_shape
            if (
                kind is not Tensor
                or (is_row and shape != x_row)
                or x.dtype is not x_dtype
                or not x.is_cpu
                or not x.is_contiguous()
            ):
                return None
            x_address, y_address = x.data_ptr(), 0
            if out is not None:
                if (
                    type(out) is not Tensor
                    or out.dtype is not y_dtype
                    or out.shape != (y_row if is_row else y_shape)
                    or not out.is_cpu
                    or out.requires_grad
                    or not out.is_contiguous()
                ):
                    return None
                y_address = out.data_ptr()
                if x_address < y_address + y_size and y_address < x_address + x_size:
                    return None  # x is still read while y is written
        except (AttributeError, RuntimeError):  # no tensor, or a sparse one: that has neither strides nor an address
            return None
        if out is None:
            if not block:
                with torch.inference_mode(False):  # those that are left may be given out when it is over
                    whole = empty(block_shape, dtype=y_dtype)
                    block = list(whole.unsafe_split(rows))  # no views for autograd: a version for each
                end = whole.data_ptr()
            y_address = end + (len(block) - 1) * y_size
        context[x_at] = x_address
        context[y_at] = y_address
        if bad := go():
            raise error(bad)
        if out is None:
            y = block.pop()
            return y.squeeze_(0) if is_row else y
        increment_version(out)  # for autograd, which may have kept it
        return out

    return step
