"""Speed beside torch's own LSTM, plain loops, torch.compile and JAX: `make bench`, or `python -m benchmarks [--quick] ...`.

For each case of the grid and each kind of cell, everything that can run it is checked (outputs, states, gradients), then timed
in turns, inference and training (forward and backward); then packed sequences, first calls, and training beside a busy
process. Prints tables, with what was asked for beside what was measured, and writes a JSON file with every number.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from benchmarks import busy, first_call, packed, tables
from benchmarks.cases import GRID, QUICK
from benchmarks.cells import CELLS
from benchmarks.contestants import COMPILED, SLOW, why_not_compiled
from benchmarks.grid import measure
from benchmarks.page import write_between
from benchmarks.peak import Peak
from benchmarks.peers_jax import jax_version, why_not_jax
from benchmarks.surroundings import OUT, surroundings
from benchmarks.timing import FULL
from benchmarks.timing import QUICK as FEW
from deeplstm.training.files import write_atomic

FORMAT = 2
PARTS = ("grid", "packed", "first-call", "busy")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    report = run(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    text = tables.text(report)
    print(f"{text}\nEvery number: {options.out}")
    if options.write:
        write_between(options.write, text)
    for failure in report["failed"]:
        print(f"{failure}; nothing is timed that is not right.", file=sys.stderr)
    return 1 if report["failed"] else 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what the options ask for."""
    start = monotonic()
    no_compile = f"{COMPILED}: it takes a minute, --quick has none" if options.quick else why_not_compiled()
    no_jax = why_not_jax()
    left_out = [reason for reason in (no_compile, no_jax) if reason]
    rounds, peak = (FEW, Peak(256)) if options.quick else (FULL, Peak())
    report: dict[str, Any] = {"rows": [], "errors": [], "packed": [], "first_call": [], "busy": [], "failed": []}

    def progress(what: str) -> None:
        print(f"{what} done, {(monotonic() - start) / 60:.1f} minutes", file=sys.stderr, flush=True)

    peak.measure()
    cells = options.cells or (list(CELLS)[:2] if options.quick else list(CELLS))
    cases = options.cases or (QUICK if options.quick else GRID)
    for case in cases if "grid" in options.parts else []:
        for cell in cells:
            slow = not options.minutes or monotonic() - start < 60 * options.minutes
            if not slow:
                left_out.append(f"{case} {cell}: {', '.join(SLOW)}, more than {options.minutes:g} minutes had passed")
            measured = measure(cell, case, compiled=not no_compile, jax=not no_jax, slow=slow, rounds=rounds, peak=peak)
            report["rows"] += measured.rows
            report["failed"] += measured.failed
            errors = ({"contestant": name, "error": error} for name, error in measured.errors.items())
            report["errors"] += [{**case._asdict(), "cell": cell, **error} for error in errors]
            progress(f"{case} {cell}")
    if "packed" in options.parts:
        report["packed"], failed = packed.measure(packed.QUICK if options.quick else packed.CASE, rounds)
        report["failed"] += failed
        progress("packed")
    if "first-call" in options.parts:
        report["first_call"] = first_call.measure(cells[:1] if options.quick else cells)
        progress("first calls")
    if "busy" in options.parts:
        report["busy"] = busy.measure(QUICK[0] if options.quick else busy.CASE, rounds)
        progress("busy")
    for row in report["rows"]:
        row["peak_share"] = row["gflops"] / peak.gflops
    facts = {**surroundings(), "jax": None if no_jax else jax_version(), "peak_gflops": peak.gflops}
    return {
        "format": FORMAT,
        **facts,
        "dtype": "float32",
        "minutes": (monotonic() - start) / 60,
        "left_out": left_out,
        **report,
    }


def _parser() -> argparse.ArgumentParser:
    grid = ", ".join(f"{n} {case}" for n, case in enumerate(GRID))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one tiny case and two cells, to see that everything works"
    )
    parser.add_argument("--cases", type=_cases, metavar="0,2,...", help=f"some of the grid: {grid}")
    parser.add_argument("--cells", type=_cells, metavar="NAME,...", help=f"some of {_names()}")
    parser.add_argument("--parts", type=_parts, default=PARTS, metavar="NAME,...", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, help=f"after so many, {', '.join(SLOW)} are left out")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    parser.add_argument(
        "--out", type=Path, default=OUT / "bench.json", help="where the numbers go (default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page to put the tables into, between its markers")
    return parser


def _names() -> str:
    return ", ".join(name.replace(" ", "-") for name in CELLS)


def _cases(given: str) -> list[Any]:
    numbers = [int(n) for n in given.split(",")]
    if bad := [n for n in numbers if not 0 <= n < len(GRID)]:
        raise argparse.ArgumentTypeError(f"{bad} given, numbers from 0 to {len(GRID) - 1} are expected")
    return [GRID[n] for n in numbers]


def _cells(given: str) -> list[str]:
    names = [name.replace("-", " ") for name in given.split(",")]
    if unknown := [name for name in names if name not in CELLS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} given, some of {_names()} are expected")
    return names


def _parts(given: str) -> list[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} given, some of {', '.join(PARTS)} are expected")
    return names


if __name__ == "__main__":
    sys.exit(main())
