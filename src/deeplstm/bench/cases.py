"""The sizes everything is timed at."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class Case(NamedTuple):
    """Steps, rows, units (of the input and of every layer) and layers."""

    T: int
    B: int
    H: int
    L: int

    def __str__(self) -> str:
        return f"({self.T},{self.B},{self.H},{self.L})"


GRID = [
    Case(100, 1, 64, 1),
    Case(100, 32, 64, 2),
    Case(256, 16, 128, 3),
    Case(1000, 1, 128, 2),
    Case(100, 64, 256, 2),
    Case(35, 20, 650, 2),
    Case(100, 32, 512, 2),
    Case(50, 128, 1024, 1),
]
QUICK = Case(7, 3, 8, 1)


def flops(case: Case, parameters: Iterable[Tensor], mode: str) -> int:
    """Additions and multiplications of the matrix products: each weight is used once per step and row, and a backward
    does each product twice, for the input and for the weight. The elementwise part is left out, as is usual.
    """
    once = 2 * case.T * case.B * sum(p.numel() for p in parameters if p.dim() == 2)
    return once * {"inference": 1, "training": 3}[mode]
