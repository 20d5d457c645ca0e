"""A report as tables."""

from statistics import geometric_mean
from typing import Any

from benchmarks.contestants import PEER
from benchmarks.grid import MODES
from benchmarks.summary import NOT_MEASURED, Rows, lines, targets
from benchmarks.surroundings import described, markdown

LEGEND = (
    f"x: times as fast as its peer of the same sizes in the same run, which is {PEER} for the plain LSTM, the better of plain "
    "loop and compiled step for the other cells. Share: of the machine's peak. FLOP: time per FLOP beside our plain LSTM."
)


def text(report: dict[str, Any]) -> str:
    """Everything, summary first."""
    parts = [
        summary(report),
        markdown(*grid(report["rows"])) if report["rows"] else "",
        LEGEND if report["rows"] else "",
        markdown(*over_all(report["rows"])) if report["rows"] else "",
        _extra("Packed", report["packed"], ["times_as_fast"]),
        _extra("First call", report["first_call"], ["first_s", "again_s"]),
        _extra("Beside a busy process", report["busy"], ["alone_ms", "busy_ms", "slowdown"]),
        *(f"Failed the check, not timed: {line}" for line in report["failed"]),
        *(f"Left out: {line}" for line in report["left_out"]),
        described(report) + f"\nPeak: {report['peak_gflops']:.0f} GFLOP/s, the best torch.mm of the run",
    ]
    return "\n\n".join(part for part in parts if part)


def summary(report: dict[str, Any]) -> str:
    table = markdown(["what", "at least", "measured", "reached"], lines(targets(report)))
    return f"{table}\n\nNot measured yet: {'; '.join(NOT_MEASURED)}."


def grid(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """One line for each case, cell and contestant."""
    found: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        case = f"({row['T']},{row['B']},{row['H']},{row['L']})"
        found.setdefault((case, row["cell"], row["contestant"]), {})[row["mode"]] = row
    columns = ["(T,B,H,L)", "cell", "run by"]
    for mode in MODES:
        columns += [f"{mode}, ms", "x", "GFLOP/s", "share", "FLOP"]
    columns.append("kept, MB")
    body = []
    for key, modes in found.items():
        line = list(key)
        for mode in MODES:
            line += _numbers(modes.get(mode, {}))
        kept = modes.get("training", {}).get("kept_bytes")
        body.append([*line, "-" if kept is None else f"{kept / 1e6:.2f}"])
    return columns, body


def _numbers(row: dict[str, Any]) -> list[str]:
    shown = [("ms", "{:.2f}"), ("times_as_fast", "{:.2f}"), ("gflops", "{:.1f}"), ("peak_share", "{:.0%}")]
    shown.append(("flop_time_beside_lstm", "{:.2f}"))
    return ["-" if row.get(name) is None else form.format(row[name]) for name, form in shown]


def over_all(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """The ratios of each cell and contestant over all cases."""
    ratios: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        if row["times_as_fast"] is not None and row["contestant"] != row["peer"]:
            of = ratios.setdefault((row["cell"], row["contestant"]), {mode: [] for mode in MODES})
            of[row["mode"]].append(row["times_as_fast"])
    kinds = [f"{mode}, {kind}" for mode in MODES for kind in ("mean", "worst")]
    body = [
        [*key, *(f"{shown(of[m]):.2f}" if of[m] else "-" for m in MODES for shown in (geometric_mean, min))]
        for key, of in ratios.items()
    ]
    return ["cell", "run by", *kinds], body


def _extra(title: str, rows: Rows, columns: list[str]) -> str:
    if not rows:
        return ""
    names = [n for n in ("cell", "contestant", "ms", *columns) if n in rows[0]]
    body = [[f"{row[n]:.3g}" if isinstance(row[n], float) else row[n] for n in names] for row in rows]
    case = f"({rows[0]['T']},{rows[0]['B']},{rows[0]['H']},{rows[0]['L']})"
    return f"{title}, {case}:\n\n{markdown(names, body)}"
