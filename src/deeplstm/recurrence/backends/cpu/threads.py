"""Rows of the batch to threads, each for the whole sequence, on torch's own pool."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .llvm.kernels import Function

SMALL = 1_000_000
"""Multiplications of a loop below which a second thread costs more than it brings: 20 microseconds of work. On a machine whose
cores are all busy a region of two threads may wait for milliseconds."""

SMALL_PRODUCTS = 4_000_000
"""The same for products of many rows, which take less time each."""

SMALL_PACKING = 256 * 1024
"""Numbers packed below which the same holds."""


# OpenMP's threads do not come along into a forked child, where the next product on two of them would wait for ever. A process
# that runs kernels has had such products, so its children compute on one thread, as torch's own data loader has it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def share(work: int, B: int, counts: list[int] | None, waits: bool = True) -> list[int]:
    """Where each thread's rows start and end: with equal numbers of steps to do, as far as whole rows allow.

    Args:
        work: multiplications.
        B, counts: rows, and how many steps each of them has; None where all have as many.
        waits: whether a step waits for the one before.
    """
    threads = min(torch.get_num_threads(), B) if work >= (SMALL if waits else SMALL_PRODUCTS) else 1
    if threads <= 1:
        return [0, B]
    if counts is None:
        return [B * n // threads for n in range(threads + 1)]
    total, done, bounds = sum(counts), 0, [0]
    for row, count in enumerate(counts):
        if len(bounds) < threads and done >= total * len(bounds) / threads:
            bounds.append(row)
        done += count
    return [*bounds, B]


def parts(size: int) -> int:
    """In how many parts to pack so many weights."""
    return torch.get_num_threads() if size >= SMALL_PACKING else 1


def run(function: Function, count: int, context: int) -> None:
    """Call ``function(begin, end, context)``, with all numbers below ``count`` shared out to threads."""
    if count == 1:
        function.call(0, 1, context)
    else:
        _parallel_for()(0, count, 1, function.address, context)


@cache
def _parallel_for() -> Any:
    """Torch's pool: a second OpenMP runtime in the process would fight with it for the cores."""
    library = (
        Path(torch.__file__).parent
        / "lib"
        / {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(__import__("sys").platform, "libtorch_cpu.so")
    )
    function = ctypes.CDLL(str(library)).torch_parallel_for
    function.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = None
    return function
