"""Products that sum over rows, gradients of weights: the same bits for any number of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from . import threads
from .host import host
from .kernels import Function, machine_code
from .layout import KERNEL
from .memory import Element
from .outer_ir import Shape, emit, shape

SMALL = 200_000
"""Multiplications below which a second thread costs more than it brings."""

ELEMENTS: dict[torch.dtype, Element] = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
}


def outer(a: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """``a.t() @ b`` for each b: sums over rows, in an order that depends on their number alone.

    float32 sums of bfloat16.

    Shapes: a (N, n), each b (N, m); gives (n, m) each.
    """
    N, n = a.shape
    dtype = torch.float32 if a.dtype == torch.bfloat16 else a.dtype
    results = [a.new_empty((n, b.shape[1]), dtype=dtype) for b in others]
    if N == 0:
        for result in results:
            result.zero_()
    elif n and others:
        _run(a, others, results)
    return results if dtype == a.dtype else [r.to(a.dtype) for r in results]


def _run(a: Tensor, others: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    function, shape = _kernel(ELEMENTS[a.dtype])
    N, n = a.shape
    a = _with_rows(a)
    others = [_with_rows(b) for b in others]
    widths = [b.shape[1] for b in others]
    counts = [-(-m // shape.columns) for m in widths]
    panels = sum(counts)
    if not panels:
        return
    along_a, along_b = _share(N, n, sum(widths), panels, shape)
    parts = along_a * along_b
    packed = results[0].new_empty(parts, shape.size)
    entries = [N, n, along_a, along_b, a.data_ptr(), a.stride(0), len(others), panels, packed.data_ptr(), shape.size]
    first = 0
    for b, width, count, result in zip(others, widths, counts, results, strict=True):
        entries += [b.data_ptr(), b.stride(0), width, first, result.data_ptr()]
        first += count
    context = (ctypes.c_int64 * len(entries))(*entries)
    threads.run(function, parts, ctypes.addressof(context))


def _with_rows(rows: Tensor) -> Tensor:
    """With the numbers of a row side by side."""
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def _share(N: int, n: int, m: int, panels: int, shape: Shape) -> tuple[int, int]:
    """In how many parts to cut a's columns and b's panels, so that threads have equal work and little to pack."""
    count = torch.get_num_threads() if N * n * m >= SMALL else 1
    best, found = (0.0, 0.0), (1, 1)
    for along_b in range(1, min(count, panels) + 1):
        along_a = min(count // along_b, n)
        rows, columns = -(-n // along_a), -(-panels // along_b) * shape.columns
        cost = (float(rows * columns), float(rows + columns))
        if best == (0.0, 0.0) or cost < best:
            best, found = cost, (along_a, along_b)
    return found


class _Engine:
    def __init__(self, engine: Any) -> None:
        self.engine = engine  # keeps the code in memory
        self.run = Function(engine.get_function_address(KERNEL))


_known: WeakValueDictionary[str, _Engine] = WeakValueDictionary()


@cache
def _kernel(element: Element) -> tuple[Function, Shape]:
    this = host()
    made = machine_code(f"outer {element}", lambda: str(emit(element, this)), this, _known, _Engine)
    made.run.owner = made  # type: ignore[attr-defined]
    return made.run, shape(element, this)
