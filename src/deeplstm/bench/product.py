"""One large matrix product of torch's, as a yardstick: what a share of the machine's peak is in practice."""

from functools import partial

import torch

from deeplstm.bench.peak import peak, speed
from deeplstm.bench.timing import PEAK, Rounds, take_turns
from deeplstm.bench.work import Found, Unit

SIZES = (1024, 2048, 4096)
QUICK = (64,)
CONTESTANT = "torch.mm"


def units(quick: bool, rounds: Rounds) -> list[Unit]:
    sizes = QUICK if quick else SIZES
    return [Unit("product", "one large product", 1.0 if quick else 8.0, lambda time_left: measure(sizes, rounds))]


def measure(sizes: tuple[int, ...], rounds: Rounds) -> Found:
    """Of square matrices, in turns with the peak."""
    most, found = peak(), Found()
    for size in sizes:
        a, b = torch.randn(2, size, size).unbind()
        out = torch.empty(size, size)
        product = ("", CONTESTANT)
        times = take_turns({PEAK: most.call, product: partial(torch.mm, a, b, out=out)}, rounds)
        ms = times[product].median
        work = speed(2.0 * size**3, ms, most.gflops(times[PEAK].median))
        found.rows.append({"size": f"{size} x {size} x {size}", "contestant": CONTESTANT, "ms": ms, **work})
    return found
