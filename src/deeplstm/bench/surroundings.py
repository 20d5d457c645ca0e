"""What a number depends on beside the code that was measured, and the table it is printed in."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import deeplstm

_PEERS = {"jax": "JAX", "onnxruntime": "ONNX Runtime"}
"""Packages that not everybody has."""


def surroundings() -> dict[str, Any]:
    """Date, commit, machine, versions and threads. No host name: a report is for publishing."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "deeplstm": deeplstm.__version__,
        "threads": torch.get_num_threads(),
        **{package: _version(package) for package in _PEERS},
        "backends": os.environ.get("DEEPLSTM_BACKENDS"),
    }


def described(facts: dict[str, Any]) -> str:
    """The surroundings in two lines, for under a table."""
    peers = "".join(f", {name} {facts[key]}" for key, name in _PEERS.items() if facts.get(key))
    backends = f", DEEPLSTM_BACKENDS={facts['backends']}" if facts.get("backends") else ""
    return (
        f"{facts['date']}, commit {facts['commit']}, deeplstm {facts['deeplstm']}, torch {facts['torch']}, "
        f"Python {facts['python']}{peers}{backends}\n"
        f"{facts['cpu']} ({facts['vectors']}), {facts['cores']} cores, {facts['threads']} threads, {facts['system']}"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def checkout() -> Path | None:
    """The folder of the repository that this file is part of; None for an installed package, wherever it lies."""
    root = Path(__file__).parents[3]
    try:
        _git(root, "ls-files", "--error-unmatch", __file__)
    except (OSError, subprocess.CalledProcessError):
        return None
    return root


def commit() -> str:
    """The checkout's commit, "+changes" where tracked files differ from it, "unknown" outside of one."""
    root = checkout()
    if root is None:
        return "unknown"
    revision = _git(root, "rev-parse", "--short=10", "HEAD")
    return revision + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def cpu_model() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table that reads well in a terminal and in docs/results.md alike; numbers are to the right."""
    text = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in text) for n in range(len(columns))]
    right = [all(_is_number(row[n]) for row in text[1:]) for n in range(len(columns))]
    lines = [
        "| "
        + " | ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
        + " |"
        for row in text
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or (cell[:1] in "-+<" and cell[1:2].isdigit()) or cell in ("", "-")
