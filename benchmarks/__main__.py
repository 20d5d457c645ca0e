"""Speed beside torch's own LSTM: `make bench`, or `python -m benchmarks [--quick] [--threads N] [--out FILE]`.

For each case of the grid and each kind of cell, everything that can run it is checked (outputs, states, gradients), then timed
in turns, inference and training (forward and backward). Prints tables and writes a JSON file with every number.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch

from benchmarks.check import ERROR, disagreement
from benchmarks.contestants import GRID, PEER, QUICK, Case, contestants, why_not_compiled
from benchmarks.surroundings import OUT, described, markdown, surroundings
from benchmarks.timing import take_turns
from deeplstm.training.files import write_atomic

FORMAT = 1
MODES = ("inference", "training")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    left_out = ["torch.compile: it takes a minute, --quick has none"] if options.quick else []
    if not options.quick and (reason := why_not_compiled()):
        left_out.append(reason)
    rows: list[dict[str, Any]] = []
    for case in QUICK if options.quick else GRID:
        measured, failed = _measure(case, compiled=not left_out, quick=options.quick)
        if failed:
            print(f"{case}: {failed}; nothing is timed that is not right.", file=sys.stderr)
            return 1
        rows += measured
        print(f"{case} done", file=sys.stderr, flush=True)
    facts = surroundings()
    report = {"format": FORMAT, **facts, "dtype": "float32", "peer": PEER, "left_out": left_out, "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, (json.dumps(report, indent=1) + "\n").encode())
    print(_tables(rows))
    print("".join(f"\nLeft out: {reason}" for reason in left_out))
    print(f"{described(facts)}\nEvery number: {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one tiny case, to see that everything works")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    parser.add_argument(
        "--out", type=Path, default=OUT / "bench.json", help="where the numbers go (default: %(default)s)"
    )
    return parser


def _measure(case: Case, *, compiled: bool, quick: bool) -> tuple[list[dict[str, Any]], str | None]:
    """Every number of one case, or what is wrong with it."""
    if compiled:
        torch._dynamo.reset()  # it compiles a function anew only so many times
    fields = list(contestants(case, compiled=compiled))
    for field in fields:
        error, where = disagreement(field, case)
        if error > ERROR:
            return (
                [],
                f"{field[0].cell}, {where} is off by {error:.1e} of its largest value, at most {ERROR:.0e} is expected",
            )
    everyone = [contestant for field in fields for contestant in field]
    rounds, seconds = (2, 0.0) if quick else (7, 0.1)
    rows = []
    for mode in MODES:
        times = take_turns(everyone, case, mode, rounds=rounds, round_seconds=seconds)
        peer = times["LSTM", PEER].median
        for (cell, name), time in times.items():
            row = {"cell": cell, "contestant": name, "mode": mode, "ms": time.median, "ms_quartiles": time[1:]}
            rows.append({**case._asdict(), **row, "times_as_fast": peer / time.median})
    return rows, None


def _tables(rows: list[dict[str, Any]]) -> str:
    """One line for each case and contestant, then the ratios over all cases."""
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (str(Case(row["T"], row["B"], row["H"], row["L"])), row["cell"], row["contestant"])
        found.setdefault(key, {})[row["mode"]] = row
    lines = [
        [*key, *(f"{modes[m]['ms']:.2f}" for m in MODES), *(f"{modes[m]['times_as_fast']:.2f}" for m in MODES)]
        for key, modes in found.items()
    ]
    columns = ["(T,B,H,L)", "cell", "run by", "inference, ms", "training, ms", "inference, x", "training, x"]
    over_all: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        ratios = over_all.setdefault((row["cell"], row["contestant"]), {mode: [] for mode in MODES})
        ratios[row["mode"]].append(row["times_as_fast"])
    summary = [
        [*key, *(f"{shown(ratios[m]):.2f}" for m in MODES for shown in (geometric_mean, min))]
        for key, ratios in over_all.items()
        if key[1] != PEER
    ]
    kinds = [f"{mode}, {kind}" for mode in MODES for kind in ("mean", "worst")]
    return (
        f"{markdown(columns, lines)}\n\n"
        f"x: times as fast as {PEER} of the same sizes in the same run. Over all cases (geometric mean, worst):\n\n"
        f"{markdown(['cell', 'run by', *kinds], summary)}"
    )


if __name__ == "__main__":
    sys.exit(main())
