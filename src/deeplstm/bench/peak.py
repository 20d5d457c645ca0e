"""What the machine can do, to be timed in the same turns as what is held against it: its speed is not the same all the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

SIZE = 1536
"""Of a matrix product that comes near the processor's peak and is short enough to be timed often."""

SECONDS = 0.01
"""About how long a call takes that has no size of its own."""


class Peak(NamedTuple):
    """A call that keeps the processor as busy as can be, with torch's threads.

    Attributes:
        call, operations: what to time, and its float32 additions and multiplications.
    """

    call: Callable[[], object]
    operations: float

    def gflops(self, milliseconds: float) -> float:
        """10^9 operations a second, where a call takes so long."""
        return self.operations / milliseconds / 1e6


def peak(size: int = SIZE) -> Peak:
    """Multiplications with additions in registers alone; where no kernel can be compiled, torch's product of so many rows."""
    try:
        from deeplstm.recurrence.backends.cpu.peak import Registers

        registers = Registers(torch.get_num_threads(), SECONDS)
    except (ImportError, OSError, ValueError):  # `deeplstm doctor` says why
        a, b = torch.randn(2, size, size).unbind()
        out = torch.empty(size, size)
        return Peak(lambda: torch.mm(a, b, out=out), 2.0 * size**3)
    return Peak(registers, registers.operations)


def speed(work: float, milliseconds: float, peak_gflops: float) -> dict[str, float]:
    """What a row says of the speed of so much work. ``peak_gflops``: what the machine could do meanwhile."""
    gflops = work / milliseconds / 1e6
    return {"gflops": gflops, "peak_gflops": peak_gflops, "peak_share": gflops / peak_gflops}
