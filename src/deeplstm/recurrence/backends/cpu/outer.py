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
from .llvm.elements import Element
from .llvm.host import host
from .llvm.kernels import Function, Loaded, machine_code
from .llvm.layout import KERNEL
from .llvm.outer_shape import Shape, shape

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


def _run(a: Tensor, others: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    kernel = _kernel(a.dtype)
    N, n = a.shape
    columns, size = kernel.shape.columns, kernel.shape.size
    products, panels = [], 0
    for b, result in zip(others, results, strict=True):
        width = b.shape[1]
        products += [b.data_ptr(), b.stride(0), width, panels, result.data_ptr()]
        panels += -(-width // columns)
    count = torch.get_num_threads() if N * n * panels * columns >= SMALL else 1
    along_a, along_b = _share(count, n, panels, columns)
    parts = along_a * along_b
    packed = results[0].new_empty(parts * size)
    header = [N, n, along_a, along_b, a.data_ptr(), a.stride(0), len(others), panels, packed.data_ptr(), size]
    context = (ctypes.c_int64 * (len(header) + len(products)))(*header, *products)
    threads.run(kernel.run, parts, ctypes.addressof(context))


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
