"""Times are what they say; so are the peak, the memory, and the other process."""

import time
from collections.abc import Callable

import torch
from torch import nn

from deeplstm.bench.busy import another_process
from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import Contestant
from deeplstm.bench.memory import kept_bytes
from deeplstm.bench.peak import Peak
from deeplstm.bench.surroundings import markdown
from deeplstm.bench.timing import Rounds, take_turns


def sleeper(seconds: float, name: str, order: list[str]) -> Callable[[], object]:
    def call() -> None:
        order.append(name)
        time.sleep(seconds)

    return call


def test_times_are_medians_in_milliseconds_of_calls_taken_in_turns() -> None:
    order: list[str] = []
    calls = {"short": sleeper(0.002, "short", order), "long": sleeper(0.006, "long", order)}
    times = take_turns(calls, Rounds(3, 0.0, 1.0, 1.0))
    assert 2 <= times["short"].median < 6 <= times["long"].median < 60
    assert times["long"].lower <= times["long"].median <= times["long"].upper
    assert times["long"].rounds == 3
    assert order == ["short", "short", "long", "long", *["short", "long"] * 3]


def test_a_turn_of_a_short_call_has_many_after_one_that_does_not_count() -> None:
    order: list[str] = []
    times = take_turns({"short": sleeper(0.001, "short", order)}, Rounds(2, 0.02, 1.0, 1.0))
    each, rest = divmod(len(order) - 2, 2)
    assert rest == 0
    assert 3 <= each <= 21
    assert 1 <= times["short"].median < 20


def test_calls_that_settle_do_not_count() -> None:
    order: list[str] = []
    times = take_turns({"short": sleeper(0.001, "short", order)}, Rounds(2, 0.002, 1.0, 1.0), settle=0.02)
    assert 2 * 3 <= len(order) - 2 <= 2 * 24
    assert times["short"].rounds == 2


def test_the_first_call_does_not_count_where_there_is_time_for_another() -> None:
    calls: list[int] = []

    def compiled() -> None:
        calls.append(1)
        time.sleep(0.2 if len(calls) == 1 else 0.001)

    times = take_turns({"one": compiled}, Rounds(3, 0.0, 0.1, 0.1))
    assert times["one"].median < 100
    assert times["one"].rounds == 3


def test_slow_ones_have_fewer_turns() -> None:
    order: list[str] = []
    calls = {
        "fast": sleeper(0.02, "fast", order),
        "slow": sleeper(0.02, "slow", order),
        "slowest": sleeper(0.06, "", []),
    }
    times = take_turns(calls, Rounds(7, 0.0, 5.0, 0.05), slow=["slow", "slowest"])
    assert times["fast"].rounds == 7
    assert 1 <= times["slow"].rounds <= 2
    assert times["slowest"].rounds == 1
    assert 60 <= times["slowest"].median < 600


def test_without_time_a_slow_call_is_made_once() -> None:
    order: list[str] = []
    times = take_turns({"slow": sleeper(0.005, "slow", order)}, Rounds(7, 0.0, 5.0, 0.0), slow=["slow"])
    assert order == ["slow"]
    assert 5 <= times["slow"].median < 100


def test_the_peak_is_the_best_so_far() -> None:
    peak = Peak({"torch.mm": 1e9}, size=64)
    peak.measure()
    assert peak.best["torch.mm"] == peak.gflops == 1e9
    assert 0 < peak.best["registers"] < 1e9
    other = Peak(size=64)
    other.measure()
    first = dict(other.best)
    other.measure()
    assert all(0 < first[way] <= other.best[way] for way in ("torch.mm", "registers"))


def test_kept_bytes_are_those_of_saved_tensors_once() -> None:
    weight = nn.Parameter(torch.ones(8))

    def run(x: torch.Tensor) -> list[torch.Tensor]:
        y = torch.tanh(x * weight)  # the product saves x and the weight, which are there; tanh its result
        return [y * y]  # saves y twice, which tanh has saved

    contestant = Contestant("cell", "name", run, {"w": weight}, nn.Identity())
    assert kept_bytes(contestant, Case(5, 3, 8, 1)) == 5 * 3 * 8 * 4


def test_the_other_process_runs_inside_and_ends_after() -> None:
    with another_process() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_table_lines_up_and_puts_numbers_to_the_right() -> None:
    lines = markdown(["name", "ms"], [["a", "1.5"], ["long name", "12.25"]]).splitlines()
    assert lines == [
        "| name      |    ms |",
        "|-----------|------:|",
        "| a         |   1.5 |",
        "| long name | 12.25 |",
    ]
    assert len({len(line) for line in lines}) == 1
