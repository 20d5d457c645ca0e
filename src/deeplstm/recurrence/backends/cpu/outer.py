"""Gradients of weights: products that sum over rows, with the same bits for any number of threads.

torch's own product shares rows out to threads where there are many, and the sum's last bits then depend on how many threads
there are. Here threads share out the numbers of the result.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from . import threads
from .address import Address
from .llvm.elements import Element
from .llvm.host import host
from .llvm.kernels import Function, Loaded, machine_code
from .llvm.layout import KERNEL
from .llvm.outer_shape import Shape, shape
from .space import Lies

SMALL = threads.SMALL_PRODUCTS
"""Multiplications below which a second thread costs more than it brings."""

SUMS = {torch.float32: torch.float32, torch.float64: torch.float64, torch.bfloat16: torch.float32}
"""The types that there are kernels for, and what they sum in."""


def outer(a: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """``a.t() @ b`` for each b. The order of each sum depends on the number of rows alone; sums of bfloat16 are float32.

    Shapes: a (N, n), each b (N, m); gives (n, m) each, contiguous.
    """
    dtype = a.dtype
    if dtype not in SUMS or any(b.dtype != dtype for b in others):
        return [a.t() @ b for b in others]
    n = a.shape[1]
    results = [a.new_empty((n, b.shape[1]), dtype=SUMS[dtype]) for b in others]
    if not a.shape[0]:
        for result in results:
            result.zero_()
    elif any(r.numel() for r in results):
        _run(_side_by_side(a), [_side_by_side(b) for b in others], results)
    return [r.to(dtype) for r in results] if SUMS[dtype] != dtype else results


def total(rows: Tensor) -> Tensor:
    """``rows.sum(0)``: (N, n) -> (n,). Of one column torch shares out the rows, of several the columns."""
    return rows.sum(0) if rows.shape[1] > 1 else outer(rows, [rows.new_ones(rows.shape[0], 1)])[0][0]


def _side_by_side(rows: Tensor) -> Tensor:
    """With the numbers of each row side by side, as a kernel reads them."""
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


class Sums:
    """Products of one ``a`` (N, n) with others (N, m), and how they are cut.

    Attributes:
        kernel, parts: what computes them, in how many parts.
        size: elements that are packed.
    """

    def __init__(self, dtype: torch.dtype, N: int, n: int, widths: Sequence[int]) -> None:
        self.N, self.n, self.widths = N, n, widths
        self._kernel = _kernel(dtype)
        shape = self._kernel.shape
        self._each = [-(-width // shape.columns) for width in widths]  # panels
        self._panels = sum(self._each)
        count = torch.get_num_threads() if N * n * self._panels * shape.columns >= SMALL else 1
        self._along = _share(count, n, self._panels, shape.columns)
        self.kernel, self.parts = self._kernel.run, self._along[0] * self._along[1]
        self.size = self.parts * shape.size

    def told(
        self, a: Lies, others: Sequence[Lies], results: Sequence[int | Address], packed: int | Address
    ) -> list[int | Address]:
        """The kernel's context. ``packed``: address of so many elements as are packed."""
        told = [self.N, self.n, *self._along, *a, len(others), self._panels, packed, self._kernel.shape.size]
        before = 0
        for b, width, panels, result in zip(others, self.widths, self._each, results, strict=True):
            told += [*b, width, before, result]
            before += panels
        return told


def _run(a: Tensor, others: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    N, n = a.shape
    sums = Sums(a.dtype, N, n, [b.shape[1] for b in others])
    packed = results[0].new_empty(sums.size)
    addresses = [result.data_ptr() for result in results]
    told = sums.told(_lies(a), [_lies(b) for b in others], addresses, packed.data_ptr())
    context = (ctypes.c_int64 * len(told))(*told)  # type: ignore[misc]  # numbers, where addresses are given as such
    threads.run(sums.kernel, sums.parts, ctypes.addressof(context))


def _lies(rows: Tensor) -> Lies:
    return Lies(rows.data_ptr(), rows.stride(0))


def _share(count: int, n: int, panels: int, columns: int) -> tuple[int, int]:
    """In how many parts to cut a's columns and b's panels: with equal work for each thread, and then with little to pack."""

    def cost(parts: tuple[int, int]) -> tuple[int, int]:
        rows, width = -(-n // parts[0]), -(-panels // parts[1]) * columns
        return rows * width, rows + width

    return min(((min(count // p, n), p) for p in range(1, min(count, panels) + 1)), key=cost)


class _Kernel(Loaded):
    def __init__(self, engine: Any, shape: Shape) -> None:
        super().__init__(engine)
        self.run, self.shape = Function(engine.get_function_address(KERNEL)), shape


_known: WeakValueDictionary[str, _Kernel] = WeakValueDictionary()


@cache
def _kernel(dtype: torch.dtype) -> _Kernel:
    def write() -> str:
        from .llvm.outer import emit

        return str(emit(element, processor))

    element, processor = cast(Element, str(dtype).removeprefix("torch.")), host()
    made_of = lambda engine: _Kernel(engine, shape(element, processor))  # noqa: E731
    return machine_code(f"outer {element}", write, processor, _known, made_of, optimise=False)
