"""What a training changes around it for as long as it lasts: threads, random generators, Lightning's chatter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch's number of CPU threads; None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every generator of torch starts from `seed` inside, and is outside as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def no_chatter() -> Iterator[None]:
    """No tips, hardware reports and advice from Lightning; its errors still pass."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        log.setLevel(level)
