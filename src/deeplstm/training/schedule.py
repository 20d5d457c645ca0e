"""How long a training is, and the learning rate at each of its steps: both pure functions, so nothing has to be saved."""

import math

from deeplstm.training.config import Training


def total_steps(training: Training, batches: int) -> int:
    """Optimiser steps of the whole training, where an epoch has `batches` of them."""
    if training.steps is not None:
        return training.steps
    return max(1, round(training.epochs * batches))


def rate(training: Training, step: int, total: int, batches: int) -> float:
    """The learning rate of the update that follows `step` finished ones.

    With s steps after the warm-up, of S in all, and e epochs finished:

    (1) constant   lr                                   (3) linear   lr * (1 - s / S)
    (2) cosine     lr * (1 + cos(pi * s / S)) / 2       (4) divide   lr / divide_by ^ max(0, e + 1 - divide_after)

    (4) is Zaremba et al. 2014: epochs 1 to divide_after at the full rate, each later one at the last one's, divided.
    """
    warmup = training.warmup_steps
    if step < warmup:
        return training.lr * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    match training.schedule:
        case "constant":
            factor = 1.0
        case "cosine":
            factor = (1 + math.cos(math.pi * min(1.0, done))) / 2
        case "linear":
            factor = max(0.0, 1 - done)
        case "divide":
            factor = training.divide_by ** -max(0, step // batches + 1 - training.divide_after)
    return training.lr * factor
