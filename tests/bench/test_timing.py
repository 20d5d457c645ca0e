"""Times are what they say; so are the peak, the memory, and the other process."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks import timing
from deeplstm.bench.busy import another_process
from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import Contestant
from deeplstm.bench.memory import kept_bytes
from deeplstm.bench.peak import Peak
from deeplstm.bench.surroundings import markdown
from deeplstm.bench.timing import Rounds, take_turns


def sleeper(seconds: float, name: str, order: list[str]) -> Callable[[], Callable[[], object]]:
    def call() -> None:
        order.append(name)
        time.sleep(seconds)

    return lambda: call


def test_times_are_medians_in_milliseconds_of_calls_taken_in_turns() -> None:
    order: list[str] = []
    makers = {"short": sleeper(0.002, "short", order), "long": sleeper(0.006, "long", order)}
    between: list[int] = []
    times = take_turns(makers, Rounds(3, 0.0), lambda: between.append(len(order)))
    assert 2 <= times["short"].median < 6 <= times["long"].median < 60
    assert times["long"].lower <= times["long"].median <= times["long"].upper
    assert times["long"].rounds == len(between) == 3
    turns = [name for n, name in enumerate(order) if n == 0 or order[n - 1] != name]
    assert turns == ["short", "long"] * (len(turns) // 2)
    assert len(turns) >= 2 * 3


def test_slow_ones_have_fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST_SECONDS", 0.05)
    order: list[str] = []
    makers = {"slow": sleeper(0.02, "slow", order), "slowest": sleeper(0.06, "slowest", order)}
    times = take_turns(makers, Rounds(7, 0.0))
    assert 1 <= times["slow"].rounds <= 2
    assert times["slowest"].rounds == 1
    assert 60 <= times["slowest"].median < 600


def test_the_peak_is_the_best_so_far() -> None:
    peak = Peak(64)
    peak.measure()
    first = peak.gflops
    peak.measure()
    assert 0 < first <= peak.gflops


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
