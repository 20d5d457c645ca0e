from dataclasses import fields
from math import inf, nan

import pytest

from deeplstm.training.config import Training


def test_defaults_are_fine():
    assert Training().check() == []


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("epochs", 0, 0.1),
        ("epochs", inf, 1e9),
        ("epochs", nan, 1),
        ("steps", 0, 1),
        ("batch_size", 0, 1),
        ("window", 0, 1),
        ("lr", 0, 1e-9),
        ("lr", -1, 5),
        ("weight_decay", -1e-9, 0),
        ("clip_norm", 0, None),
        ("warmup_steps", -1, 0),
        ("validate_every", 0, 1),
        ("patience", 0, 1),
        ("save_every", 0, 1),
        ("log_every", 0, 1),
        ("seed", -1, 2**63 - 1),
        ("seed", 2**63, 0),
        ("threads", 0, 1),
    ],
)
def test_ranges(name: str, bad: float, good: float):
    (complaint,) = Training(**{name: bad}).check()
    assert complaint.startswith(f"training.{name}={bad}, but it must be ")
    assert Training(**{name: good}).check() == []


@pytest.mark.parametrize(
    ("needed", "name", "bad", "good"),
    [
        ({"optimizer": "sgd"}, "momentum", 1, 0.99),
        ({"schedule": "divide"}, "divide_after", -1, 0),
        ({"schedule": "divide"}, "divide_by", 0.5, 1.15),
    ],
)
def test_ranges_of_what_only_some_choices_have(needed: dict, name: str, bad: float, good: float):
    assert Training(**needed, **{name: good}).check() == []
    (complaint,) = Training(**needed, **{name: bad}).check()
    assert complaint.startswith(f"training.{name}={bad}, but it must be ")
    (complaint,) = Training(**{name: good}).check()
    (choice,) = needed
    assert f"has no use for it: leave it out or choose {choice}=" in complaint


def test_all_complaints_at_once():
    assert len(Training(lr=0, epochs=-1, window=0, momentum=0.5).check()) == 4


def test_every_number_has_a_range():
    from deeplstm.training import config

    numbers = {field.name for field in fields(Training) if field.type in (int, float, int | None, float | None)}
    assert numbers == {name for name, _, _ in config._RANGES}
