"""What was asked for beside what was measured."""

from collections.abc import Iterable
from statistics import geometric_mean
from typing import Any, NamedTuple

from deeplstm.bench.cells import LSTM
from deeplstm.bench.contestants import DROP_IN, JAX, LOOP, ONNX, OURS, PEER, RECOMPUTE
from deeplstm.bench.streaming import CHARACTER, WRITER, WRITING_LOOP

Rows = list[dict[str, Any]]

STREAM, STREAM_BF16, STREAM_PEER = "Stream", "Stream, bfloat16", "nn.LSTM"
"""What streaming rows call ours, and torch's."""

LARGE = ("2x256", "2x512")
"""Where bfloat16 weights are asked about: they spare memory's time."""


class Target(NamedTuple):
    """One line of the summary.

    Attributes:
        what: the thing.
        bound: the number asked for.
        unit: "x", "%", "s".
        found: what was measured; None where nothing was.
        at_most: whether smaller is better.
        where: the case it is from, for a worst one.
    """

    what: str
    bound: float
    unit: str
    found: float | None
    at_most: bool = False
    where: str = ""

    @property
    def reached(self) -> bool | None:
        if self.found is None:
            return None
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def targets(report: dict[str, Any]) -> list[Target]:
    """Every number asked for that can be measured, in a fixed order."""
    rows: Rows = report["rows"]
    found: list[Target] = []
    for mode, mean, worst in (("training", 1.25, 0.95), ("inference", 1.1, 0.95)):
        for name in (DROP_IN, OURS):
            ratios = _pairs(_of(rows, mode, name, plain=True), "times_as_fast")
            found += _both(f"plain LSTM, {mode}, {name}, against {PEER}", ratios, mean, worst)
    packed = {row["contestant"]: row["times_as_fast"] for row in report["packed"]}
    for name in (DROP_IN, OURS):
        what = f"packed sequences, forward and backward, {name}, against {PEER}"
        found.append(Target(what, 15, "x", packed.get(name)))
    others = _of(rows, "training", OURS, plain=False)
    ratios = _pairs(others, "times_as_fast")
    found += _both("other cells, training, against the better of plain loop and compiled step", ratios, 4, 1.4)
    found += _both("other cells, training, against JAX scan", _beside(rows, others, JAX), 1.8, 1.2)
    found.append(
        _worst(
            "other cells, training, time per FLOP beside our plain LSTM", _pairs(others, "flop_time_beside_lstm"), 1.2
        )
    )
    large = [row for row in _of(rows, "training", OURS) if row["H"] >= 256 and row["B"] >= 16]
    for what, plain in (("plain LSTM", True), ("other cells", False)):
        shares = _pairs((row for row in large if (row["cell"] == LSTM) == plain), "peak_share", 100.0)
        found.append(_least(f"share of the machine's peak, training, H >= 256 and B >= 16, {what}", shares, 85, "%"))
    found.append(_worst("first call of a new cell and size", _pairs(report["first_call"], "first_s"), 1.5, "s"))
    found.append(_worst("first call in a second process", _pairs(report["first_call"], "again_s"), 0.1, "s"))
    for name, bound in ((OURS, 0.7), (RECOMPUTE, 0.3)):
        found.append(_worst(f"memory kept for the backward, {name}, against {PEER}", _kept(rows, name), bound))
    slowdown = {row["contestant"]: row["slowdown"] for row in report["busy"]}
    for name in (DROP_IN, OURS):
        what = f"a second busy process: slowdown of training, {name}"
        found.append(Target(what, 2.5, "x", slowdown.get(name), at_most=True))
    for size, bound in (("(100,32,64,1)", 3.0), ("(100,64,256,1)", 1.3)):
        ratios = [
            pair for pair in _pairs(_of(report["examples"], "training", OURS), "times_as_fast") if size in pair[0]
        ]
        found.append(_least(f"cells of examples/cells, training, against {LOOP}, {size}", ratios, bound))
    return found + _streaming(report["streaming"])


def _streaming(rows: Rows) -> list[Target]:
    """One step, one row: ours against each peer at the sizes that have both, in float32 and with bfloat16 weights."""
    us = {(row["size"], row["contestant"]): row["us"] for row in rows}

    def ratios(ours: str, peer: str) -> list[tuple[str, float]]:
        sizes = dict.fromkeys(row["size"] for row in rows)
        return [(s, us[s, peer] / us[s, ours]) for s in sizes if (s, ours) in us and (s, peer) in us]

    what = "streaming, one step, batch 1"
    return [
        _least(f"{what}, against {ONNX}", ratios(STREAM, ONNX), 2.0),
        _least(f"{what}, against {PEER}", ratios(STREAM, STREAM_PEER), 12.0),
        _least(
            f"{what}, bfloat16 weights, 2x256 and 2x512, against {ONNX}",
            [pair for pair in ratios(STREAM_BF16, ONNX) if pair[0] in LARGE],
            3.0,
        ),
        _least(f"{CHARACTER} of {WRITER}, 2x128, against a {WRITING_LOOP}", ratios(WRITER, WRITING_LOOP), 8.0),
    ]


def lines(found: list[Target]) -> list[list[str]]:
    """For a table: what, asked for, measured, verdict."""
    verdicts = {True: "yes", False: "NO", None: "not measured"}
    return [
        [
            target.what,
            f"{'at most ' if target.at_most else ''}{target.bound:g} {target.unit}",
            "-"
            if target.found is None
            else f"{target.found:.3g} {target.unit}" + (f" at {target.where}" if target.where else ""),
            verdicts[target.reached],
        ]
        for target in found
    ]


def _of(rows: Rows, mode: str, name: str, plain: bool | None = None) -> Rows:
    return [
        row
        for row in rows
        if row["mode"] == mode and row["contestant"] == name and (plain is None or (row["cell"] == LSTM) == plain)
    ]


def _pairs(rows: Iterable[dict[str, Any]], column: str, factor: float = 1.0) -> list[tuple[str, float]]:
    """(where, value) of each row that has one."""
    return [(where(row), row[column] * factor) for row in rows if row.get(column) is not None]


def where(row: dict[str, Any]) -> str:
    case = f"({row['T']},{row['B']},{row['H']},{row['L']})"
    return case if row["cell"] == LSTM else f"{case} {row['cell']}"


def _beside(rows: Rows, ours: Rows, name: str) -> list[tuple[str, float]]:
    """How many times as fast as another contestant of the same case, cell and mode."""
    key = ("T", "B", "H", "L", "cell", "mode")
    theirs = {tuple(row[k] for k in key): row["ms"] for row in rows if row["contestant"] == name}
    found = ((row, theirs.get(tuple(row[k] for k in key))) for row in ours)
    return [(where(row), ms / row["ms"]) for row, ms in found if ms is not None]


def _kept(rows: Rows, name: str) -> list[tuple[str, float]]:
    theirs = {where(row): row["kept_bytes"] for row in _of(rows, "training", PEER)}
    ours = _of(rows, "training", name, plain=True)
    return [(where(row), row["kept_bytes"] / theirs[where(row)]) for row in ours if where(row) in theirs]


def _both(what: str, ratios: list[tuple[str, float]], mean: float, worst: float) -> list[Target]:
    if not ratios:
        return [Target(f"{what}: geometric mean", mean, "x", None), Target(f"{what}: worst", worst, "x", None)]
    place, value = min(ratios, key=lambda pair: pair[1])
    average = geometric_mean([ratio for _, ratio in ratios])
    return [
        Target(f"{what}: geometric mean", mean, "x", average),
        Target(f"{what}: worst", worst, "x", value, where=place),
    ]


def _least(what: str, found: list[tuple[str, float]], bound: float, unit: str = "x") -> Target:
    """The smallest of what should be large."""
    place, value = min(found, key=lambda pair: pair[1], default=("", None))
    return Target(f"{what}: worst", bound, unit, value, where=place)


def _worst(what: str, found: list[tuple[str, float]], bound: float, unit: str = "x") -> Target:
    """The largest of what should be small."""
    place, value = max(found, key=lambda pair: pair[1], default=("", None))
    return Target(f"{what}: worst", bound, unit, value, at_most=True, where=place)
