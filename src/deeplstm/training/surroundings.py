"""What surrounds a training: its device, and what it changes for as long as it lasts (threads, generators, chatter)."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from deeplstm.errors import BackendUnavailable
from deeplstm.training.config import Training


def device(name: str) -> torch.device:
    """The device that an option names: auto is the GPU if there is one; BackendUnavailable for one that is missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("device=cuda, but torch finds no CUDA device here: choose auto or cpu.")
    # Without a workspace of fixed size, cuBLAS and cuDNN's LSTM may differ in the last bits from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def require_available(training: Training) -> None:
    """BackendUnavailable if what `training` asks for is not on this machine."""
    device(training.device)
    if training.tensorboard and not any(find_spec(name) for name in ("tensorboard", "tensorboardX")):
        raise BackendUnavailable(
            "training.tensorboard=True, but no package that writes for TensorBoard is installed. "
            "Install one with: pip install 'deeplstm[tensorboard]', or leave the option out."
        )


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
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
