"""What the machine can do: the most that was seen in the run, of a large matrix product or of nothing but sums in registers."""

from time import perf_counter

import torch

SIZE = 1536
"""Large enough for torch.mm to come near the processor's peak, small enough to be timed often."""


class Peak:
    """The best of all measurements so far, which are taken in between everything else.

    Attributes:
        best: 10^9 additions and multiplications a second, float32, with torch's threads, for each way to measure it:
            "torch.mm", and "registers" where kernels can be compiled.
    """

    def __init__(self, best: dict[str, float] | None = None, size: int = SIZE) -> None:
        self.best = dict(best or {})
        self._a, self._b = torch.randn(2, size, size).unbind()
        self._out = torch.empty(size, size)

    @property
    def gflops(self) -> float:
        """The larger of the two; 0 before the first."""
        return max(self.best.values(), default=0.0)

    def measure(self) -> None:
        for _ in range(2):
            start = perf_counter()
            torch.mm(self._a, self._b, out=self._out)
            self._note("torch.mm", 2e-9 * self._a.shape[0] ** 3 / (perf_counter() - start))
        try:
            from deeplstm.recurrence.backends.cpu.peak import fma_peak

            self._note("registers", fma_peak(torch.get_num_threads()))
        except (ImportError, OSError, ValueError):
            pass  # `deeplstm doctor` says why; the product alone is left

    def _note(self, way: str, gflops: float) -> None:
        self.best[way] = max(self.best.get(way, 0.0), gflops)
