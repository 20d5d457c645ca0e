import math

import pytest

from deeplstm.training.config import Training
from deeplstm.training.schedule import rate, total_steps


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"epochs": 3}, 30), ({"epochs": 2.55}, 26), ({"epochs": 0.001}, 1), ({"epochs": 3, "steps": 7}, 7)],
)
def test_total_steps(options: dict, expected: int):
    assert total_steps(Training(**options), batches=10) == expected


def rates(total: int, batches: int, **options) -> list[float]:
    training = Training(lr=1.0, **options)
    return [rate(training, step, total, batches) for step in range(total)]


def test_zaremba_small_model():
    """Four epochs at 1, then halved at the start of each: epoch 13 runs at 2 ** -9."""
    by_epoch = rates(13 * 5, 5, schedule="divide", divide_after=4, divide_by=2)[::5]
    assert by_epoch == [1, 1, 1, 1, *(2.0**-n for n in range(1, 10))]


def test_divide_changes_within_no_epoch():
    values = rates(15, 5, schedule="divide", divide_after=1, divide_by=4)
    assert values == [1] * 5 + [1 / 4] * 5 + [1 / 16] * 5


def test_constant():
    assert rates(4, 2, schedule="constant") == [1, 1, 1, 1]


def test_linear():
    assert rates(4, 2, schedule="linear") == [1, 0.75, 0.5, 0.25]


def test_cosine():
    assert rates(4, 2, schedule="cosine") == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


def test_warm_up_comes_before_the_schedule():
    assert rates(8, 2, schedule="linear", warmup_steps=4) == [0.2, 0.4, 0.6, 0.8, 1, 0.75, 0.5, 0.25]


def test_warm_up_longer_than_the_training():
    assert rates(3, 1, schedule="cosine", warmup_steps=9) == pytest.approx([0.1, 0.2, 0.3])
