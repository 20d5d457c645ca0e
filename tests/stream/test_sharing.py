"""When a step is shared between two threads, and when no longer."""

import ctypes
import itertools

import pytest

from deeplstm.stream import sharing
from deeplstm.stream.sharing import ALONE, FIRST_PAUSE, TURN_NS, Shared


class Helper:
    """In place of the thread."""

    address, asleep = 7, ctypes.c_int64(0)

    def wake(self):
        raise AssertionError("it is awake")


@pytest.fixture
def helper(monkeypatch):
    one = Helper()
    monkeypatch.setattr(sharing, "helper", lambda: one)
    return one


def run(monkeypatch, alone_ns, shared_ns, steps):
    """Which of so many steps were shared, when a step takes so long alone and shared (numbers, or functions of the step's)."""
    now, context, seen = [0], [0], []

    def call(address):
        seen.append(bool(context[0]))
        takes = shared_ns if context[0] else alone_ns
        now[0] += takes(len(seen) - 1) if callable(takes) else takes
        return 0

    monkeypatch.setattr(sharing, "perf_counter_ns", lambda: now[0])
    shared = Shared(call, 0, context, 0)
    for _ in range(steps):
        assert shared() == 0
    return seen


def pauses(seen):
    tries = [n for n, s in enumerate(seen) if s]
    return [b - a - 1 for a, b in itertools.pairwise(tries) if b - a > 1]


def test_steps_are_shared_while_that_is_faster(monkeypatch, helper):
    seen = run(monkeypatch, 100, 60, 500)
    assert seen == [False] * ALONE + [True] * (500 - ALONE)


def test_one_slow_step_changes_nothing(monkeypatch, helper):
    """A step shared or not is slow now and then on any machine."""
    slow = {30: 1500, 200: 5000, 400: 5000}
    seen = run(monkeypatch, 100, lambda n: slow.get(n, 60), 600)
    assert seen == [False] * ALONE + [True] * (600 - ALONE)
    seen = run(monkeypatch, lambda n: 2000 if n == ALONE - 2 else 100, 120, 500)
    assert sum(seen) < 250  # the slow one was alone: sharing is no better for it


def test_a_busy_machine_is_left_alone_for_longer_and_longer(monkeypatch, helper):
    found = pauses(run(monkeypatch, 100, 3000, 5000))
    assert found[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]


def test_stalls_that_cost_more_than_sharing_saves_end_it(monkeypatch, helper):
    """The helper loses its core again and again: most steps are fast, and yet it takes longer."""
    seen = run(monkeypatch, 100, lambda n: 4000 if n % 50 == 0 else 60, 20000)
    assert sum(seen) < 0.2 * len(seen)


def test_no_pause_is_longer_than_half_a_second(monkeypatch, helper):
    assert max(pauses(run(monkeypatch, 1e6, 30e6, 5000))) == 500


def test_it_comes_back_when_the_machine_is_free_again(monkeypatch, helper):
    seen = run(monkeypatch, 100, lambda n: 3000 if n < 1000 else 60, 5000)
    assert seen[-2000:] == [True] * 2000


def test_what_a_step_takes_alone_is_measured_again(monkeypatch, helper):
    """It was slow when the stream was made."""
    seen = run(monkeypatch, lambda n: 1e6 if n < 100 else 2e5, lambda n: 5e5, 4000)
    until = ALONE + int(TURN_NS / 5e5)
    assert seen[ALONE:until] == [True] * (until - ALONE)
    assert sum(seen[until + 100 :]) < 0.1 * len(seen)
