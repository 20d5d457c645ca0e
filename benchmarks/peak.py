"""What the machine can do: the best that a large matrix product reached in the run."""

from time import perf_counter

import torch

SIZE = 1536
"""Large enough for torch.mm to come near the processor's peak, small enough to be timed often."""


class Peak:
    """The best of all measurements so far, which are taken in between everything else.

    Attributes:
        gflops: 10^9 additions and multiplications a second, float32, with torch's threads; 0 before the first.
    """

    def __init__(self, size: int = SIZE) -> None:
        self.gflops = 0.0
        self._a, self._b = torch.randn(2, size, size).unbind()
        self._out = torch.empty(size, size)

    def measure(self) -> None:
        for _ in range(2):
            start = perf_counter()
            torch.mm(self._a, self._b, out=self._out)
            seconds = perf_counter() - start
            self.gflops = max(self.gflops, 2e-9 * self._a.shape[0] ** 3 / seconds)
