"""A report as tables."""

from statistics import geometric_mean, median
from typing import Any

from deeplstm.bench.cells import LSTM
from deeplstm.bench.contestants import DROP_IN, MODES, PEER
from deeplstm.bench.summary import Rows, lines, targets, where
from deeplstm.bench.surroundings import described, markdown

LEGEND = (
    f"x: times as fast as its peer of the same sizes in the same run, which is {PEER} for the plain LSTM, the better of plain "
    "loop and compiled step for the other cells, which compiled step and JAX only train. Share: of the machine's peak in the "
    "same turns, multiplications with additions in registers alone. "
    "FLOP: time per FLOP beside our plain LSTM."
)


def text(report: dict[str, Any]) -> str:
    """Everything, summary first."""
    rows = report["rows"]
    parts = [
        _unfinished(report),
        summary(report),
        markdown(*grid(rows)) if rows else "",
        "\n\n".join(filter(None, [LEGEND, _chosen(rows)])) if rows else "",
        markdown(*over_all(rows)) if rows else "",
        _examples(report["examples"]),
        _extra("Packed", report["packed"], ["times_as_fast"]),
        _extra("Streaming, one step, batch 1", report["streaming"], ["us", "floor_us"]),
        _extra("First call", report["first_call"], ["first_s", "again_s"]),
        _extra("Beside a busy process", report["busy"], ["alone_ms", "busy_ms", "slowdown"]),
        _extra("One large product, as a yardstick", report["product"], ["gflops", "peak_gflops", "peak_share"]),
        *(f"Failed, not timed: {failure['what']}" for failure in report["failed"]),
        *(f"Left out: {_left_out(entry)}" for entry in report["left_out"]),
        described(report) + f"\n{_peaks(report)}",
    ]
    return "\n\n".join(part for part in parts if part)


def _unfinished(report: dict[str, Any]) -> str:
    done, all_of_it = len(report["done"]), report.get("units", 0)
    return "" if done >= all_of_it else f"Not finished: {done} of {all_of_it} measurements so far."


def _peaks(report: dict[str, Any]) -> str:
    """What the machine could do while rows were measured, and how long all took."""
    peaks = sorted(row["peak_gflops"] for row in (*report["rows"], *report["examples"]))
    seen = (
        f"Peak: {peaks[0]:.0f} to {peaks[-1]:.0f} GFLOP/s, half of the time {median(peaks):.0f} or more; "
        if peaks
        else ""
    )
    return f"{seen}{report['minutes']:.0f} minutes"


def _left_out(entry: dict[str, Any]) -> str:
    """What, where and why in one line, however many places there are."""
    sizes: dict[str, list[str]] = {}
    for place in entry["where"]:
        size, _, cell = place.partition(" ")
        sizes.setdefault(size, []).append(cell)
    places = [
        size if len(cells) > 3 or cells == [""] else f"{size} {', '.join(cells)}" for size, cells in sizes.items()
    ]
    at = f" at {'; '.join(places)}" if places else ""
    return f"{entry['what']}{at}: {entry['why']}"


def _chosen(rows: Rows) -> str:
    """Which backends the drop-in took."""
    took: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "backends" in row:
            took.setdefault((row["mode"], " and ".join(row["backends"])), []).append(where(row))
    said = [f"{mode} on {backend} at {' '.join(places)}" for (mode, backend), places in took.items()]
    return f"{DROP_IN} chose by itself: {'; '.join(said)}." if said else ""


def _examples(rows: Rows) -> str:
    if not rows:
        return ""
    shown = [[where(row).split(" ")[0], row["cell"], row["contestant"], *_numbers(row)[:-1]] for row in rows]
    table = markdown(["(T,B,H,L)", "cell", "run by", "training, ms", "x", "GFLOP/s", "share"], shown)
    return f"Cells of examples/cells, x beside the plain loop:\n\n{table}"


def summary(report: dict[str, Any]) -> str:
    return markdown(["what", "at least", "measured", "reached"], lines(targets(report)))


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
    names = [n for n in ("size", "cell", "contestant", "ms", *columns) if n in rows[0]]
    body = [[_cell(row.get(n)) for n in names] for row in rows]
    case = f", {where({'cell': LSTM, **rows[0]}).split(' ')[0]}" if "T" in rows[0] else ""
    return f"{title}{case}:\n\n{markdown(names, body)}"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
