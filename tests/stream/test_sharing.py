"""When a step is shared between two threads, and when no longer."""

import itertools

from deeplstm.stream import sharing
from deeplstm.stream.sharing import FIRST_ALONE, FIRST_PAUSE, Shared


def run(monkeypatch, alone_ns, shared_ns, steps):
    """Which of so many steps were shared, when a step takes so long alone and shared (a list: step by step)."""
    now, context, seen = [0], [0], []
    shared_ns = iter(shared_ns)

    def call(address):
        seen.append(context[0])
        now[0] += next(shared_ns) if context[0] else alone_ns
        return 0

    monkeypatch.setattr(sharing, "perf_counter_ns", lambda: now[0])
    shared = Shared(call, 0, context, 0)
    for _ in range(steps):
        assert shared() == 0
    return seen


def test_steps_are_shared_while_that_is_faster(monkeypatch):
    seen = run(monkeypatch, 100, [60] * 1000, 500)
    assert seen == [0] * FIRST_ALONE + [1] * (500 - FIRST_ALONE)


def test_a_busy_machine_is_left_alone_for_longer_and_longer(monkeypatch):
    seen = run(monkeypatch, 100, [3000] * 10000, 5000)
    tries = [n for n, s in enumerate(seen) if s]
    pauses = [b - a - 1 for a, b in itertools.pairwise(tries)]
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]


def test_no_pause_is_longer_than_half_a_second(monkeypatch):
    seen = run(monkeypatch, 1e6, [3e6] * 1000, 5000)
    tries = [n for n, s in enumerate(seen) if s]
    assert max(b - a - 1 for a, b in itertools.pairwise(tries)) == 500


def test_it_comes_back_when_the_machine_is_free_again(monkeypatch):
    seen = run(monkeypatch, 100, [3000, 3000, *[60] * 3000], 3000)
    assert seen[-2000:] == [1] * 2000


def test_only_one_stream_at_a_time_shares(monkeypatch):
    with sharing._pool:
        seen = run(monkeypatch, 100, [60] * 100, 50)
    assert seen == [0] * 50
    assert sharing._pool.acquire(blocking=False)
    sharing._pool.release()
