"""Times are what they say; so are the peak, the memory, and the other process."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from deeplstm.bench import timing
from deeplstm.bench.busy import another_process
from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import Contestant
from deeplstm.bench.memory import kept_bytes
from deeplstm.bench.peak import Peak, peak, speed
from deeplstm.bench.surroundings import markdown
from deeplstm.bench.timing import PEAK, Rounds, in_modes, take_turns
from deeplstm.recurrence.backends.cpu.peak import Registers


class Clock:
    """Time that passes where a call says so, and nowhere else: no busy moment of a machine can fail a test."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, list[str]()

    def call(self, name: str, seconds: float, first: float | None = None) -> Callable[[], object]:
        """A call that takes so many seconds, ``first`` the first time."""

        def call() -> None:
            is_first = first is not None and name not in self.order
            self.order.append(name)
            self.now += first if is_first and first is not None else seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: clock.now)
    return clock


def test_times_are_medians_in_milliseconds_of_calls_taken_in_turns(clock: Clock) -> None:
    calls = {"short": clock.call("short", 0.002), "long": clock.call("long", 0.006)}
    times = take_turns(calls, Rounds(3, 0.0, 1.0, 1.0))
    assert times["short"].median == pytest.approx(2)
    assert times["long"] == pytest.approx((6, 6, 6, 3))
    assert clock.order == ["short", "short", "long", "long", *["short", "long"] * 3]


def test_a_median_is_of_the_rounds(clock: Clock) -> None:
    seconds = iter([1, 1, 3e-3, 1e-3, 2e-3, 9e-3, 4e-3])

    def uneven() -> None:
        clock.now += next(seconds)

    found = take_turns({"uneven": uneven}, Rounds(5, 0.0, 10.0, 10.0))["uneven"]
    assert found == pytest.approx((3, 2, 4, 5))


def test_a_turn_of_a_short_call_has_many_after_one_that_does_not_count(clock: Clock) -> None:
    times = take_turns({"short": clock.call("short", 0.001)}, Rounds(2, 0.02, 1.0, 1.0))
    assert len(clock.order) == 2 + 2 * (1 + 20)
    assert times["short"].median == pytest.approx(1)


def test_calls_that_settle_do_not_count(clock: Clock) -> None:
    times = take_turns({"short": clock.call("short", 0.001)}, Rounds(2, 0.002, 1.0, 1.0), settle=0.0195)
    assert len(clock.order) == 2 + 2 * (1 + 20 + 2)
    assert times["short"].rounds == 2


def test_the_first_call_does_not_count_where_there_is_time_for_another(clock: Clock) -> None:
    times = take_turns({"one": clock.call("one", 0.001, first=0.2)}, Rounds(3, 0.0, 0.1, 0.1))
    assert times["one"] == pytest.approx((1, 1, 1, 3))


def test_slow_ones_have_fewer_turns(clock: Clock) -> None:
    calls = {name: clock.call(name, seconds) for name, seconds in (("fast", 0.02), ("slow", 0.02), ("slowest", 0.06))}
    times = take_turns(calls, Rounds(7, 0.0, 5.0, 0.05), slow=["slow", "slowest"])
    assert times["fast"].rounds == 7
    assert times["slow"].rounds == 2
    assert times["slowest"] == pytest.approx((60, 60, 60, 1))


def test_without_time_a_slow_call_is_made_once(clock: Clock) -> None:
    times = take_turns({"slow": clock.call("slow", 0.005)}, Rounds(7, 0.0, 5.0, 0.0), slow=["slow"])
    assert clock.order == ["slow"]
    assert times["slow"].median == pytest.approx(5)


def test_the_peak_takes_its_turn(clock: Clock) -> None:
    times = in_modes([], Case(2, 3, 4, 1), "training", Rounds(3, 0.0), Peak(clock.call("peak", 0.002), 6e6))
    assert clock.order == ["peak"] * 5  # two to find out how long it takes
    assert Peak(print, 6e6).gflops(times[PEAK].median) == pytest.approx(3)
    assert speed(3e6, 2.0, 3.0) == pytest.approx({"gflops": 1.5, "peak_gflops": 3.0, "peak_share": 0.5})


@pytest.mark.parametrize("has_kernels", [True, False])
def test_the_peak_is_of_registers_or_of_a_product(has_kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_kernels:
        monkeypatch.setitem(sys.modules, "deeplstm.recurrence.backends.cpu.peak", None)
    found = peak(size=64)
    found.call()
    assert isinstance(found.call, Registers) == has_kernels
    assert found.operations > 1e5
    assert has_kernels or found.operations == 2 * 64**3


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
