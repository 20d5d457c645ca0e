"""What was asked for beside what was measured."""

from typing import Any

import pytest

from deeplstm.bench.contestants import DROP_IN, JAX, LOOP, ONNX, OURS, PEER, RECOMPUTE
from deeplstm.bench.streaming import CHARACTER, WRITER, WRITING_LOOP
from deeplstm.bench.summary import STREAM, STREAM_BF16, STREAM_PEER, Target, lines, targets


def row(cell: str, name: str, ms: float, times_as_fast: float, H: int = 256, **more: Any) -> dict[str, Any]:
    size = {"T": 10, "B": 16, "H": H, "L": 1}
    own = {"cell": cell, "contestant": name, "mode": "training", "ms": ms, "times_as_fast": times_as_fast}
    return {**size, **own, "peak_share": 0.5, "flop_time_beside_lstm": 1.0, **more}


REPORT: dict[str, Any] = {
    "rows": [
        row("lstm", PEER, 8.0, 1.0, kept_bytes=100),
        row("lstm", OURS, 4.0, 2.0, kept_bytes=60),
        row("lstm", RECOMPUTE, 5.0, 1.6, kept_bytes=20),
        row("lstm", PEER, 4.0, 1.0, H=64, kept_bytes=100),
        row("lstm", OURS, 8.0, 0.5, H=64, kept_bytes=80),
        row("peephole", LOOP, 30.0, 1.0),
        row("peephole", JAX, 10.0, 3.0),
        row("peephole", OURS, 5.0, 6.0, flop_time_beside_lstm=1.25),
    ],
    "packed": [{"contestant": OURS, "times_as_fast": 20.0}, {"contestant": DROP_IN, "times_as_fast": 1.0}],
    "first_call": [],
    "product": [],
    "busy": [{"contestant": OURS, "slowdown": 2.0}],
    "examples": [
        {**row("JANET", OURS, 1.0, 3.5, H=64), "T": 100, "B": 32},
        {**row("MUT1", OURS, 1.0, 2.5, H=64), "T": 100, "B": 32},
        {**row("MUT1", LOOP, 1.0, 1.0, H=64), "T": 100, "B": 32},
        {**row("MUT1", OURS, 1.0, 1.5, H=256), "T": 100, "B": 64},
    ],
    "streaming": [
        {"size": size, "contestant": name, "us": us}
        for size, times in {"1x40": (5.0, 14.0, 80.0, 14.0), "2x256": (20.0, 30.0, 200.0, 7.5)}.items()
        for name, us in zip((STREAM, ONNX, STREAM_PEER, STREAM_BF16), times, strict=True)
    ]
    + [{"size": CHARACTER, "contestant": name, "us": us} for name, us in ((WRITER, 30.0), (WRITING_LOOP, 270.0))],
}


def found() -> dict[str, Target]:
    return {target.what: target for target in targets(REPORT)}


def test_means_and_worst_are_over_all_cases() -> None:
    what = f"plain LSTM, training, {OURS}, against {PEER}"
    mean, worst = found()[f"{what}: geometric mean"], found()[f"{what}: worst"]
    assert mean.found == pytest.approx(1.0)
    assert worst.found == 0.5
    assert worst.where == "(10,16,64,1)"
    assert not worst.reached


@pytest.mark.parametrize(
    ("beginning", "value", "reached"),
    [
        ("other cells, training, against the better of plain loop and compiled step: worst", 6.0, True),
        ("other cells, training, against JAX scan: worst", 2.0, True),
        ("other cells, training, time per FLOP", 1.25, False),
        ("share of the machine's peak, training, H >= 256 and B >= 16, plain", 50.0, False),
        (f"memory kept for the backward, {OURS}", 0.8, False),
        (f"memory kept for the backward, {RECOMPUTE}", 0.2, True),
        ("cells of examples/cells, training, against plain loop, (100,32,64,1)", 2.5, False),
        ("cells of examples/cells, training, against plain loop, (100,64,256,1)", 1.5, True),
        (f"streaming, one step, batch 1, against {ONNX}", 1.5, False),
        (f"streaming, one step, batch 1, against {PEER}", 10.0, False),
        ("streaming, one step, batch 1, bfloat16", 4.0, True),
        ("a character of deeplstm generate", 9.0, True),
        (f"packed sequences, forward and backward, {OURS}", 20.0, True),
        (f"a second busy process: slowdown of training, {OURS}", 2.0, True),
        (f"a second busy process: slowdown of training, {DROP_IN}", None, None),
        ("first call of a new cell", None, None),
        ("plain LSTM, inference", None, None),
    ],
)
def test_every_target_is_held_against_its_bound(beginning: str, value: float | None, reached: bool | None) -> None:
    target = next(target for what, target in found().items() if what.startswith(beginning))
    assert target.found == (None if value is None else pytest.approx(value))
    assert target.reached is reached


def test_rows_that_fall_short_stay_and_say_so() -> None:
    shown = lines(list(found().values()))
    assert len(shown) == len(found())
    verdicts = {line[0]: line[3] for line in shown}
    assert set(verdicts.values()) == {"yes", "NO", "not measured"}
    assert verdicts["memory kept for the backward, deeplstm, cpu, against torch.nn.LSTM: worst"] == "NO"
