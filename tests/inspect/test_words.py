"""Numbers with their nouns."""

from deeplstm.inspect.words import counted


def test_one_of_a_thing_is_not_many():
    assert [counted(n, "step") for n in (0, 1, 2, 2000)] == ["0 steps", "1 step", "2 steps", "2,000 steps"]
    assert [counted(n, "loss", "losses") for n in (1, 2)] == ["1 loss", "2 losses"]
