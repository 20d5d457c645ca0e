"""What a check found, as data that prints as a table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BackendUnavailable


@dataclass(frozen=True)
class Check:
    """One line of a report: the largest error beside what is allowed there, or why there is none, or what is wrong."""

    name: str
    backend: str = "-"
    error: float | None = None
    allowed: float | None = None
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """What `check_cell` did; prints as a table."""

    subject: str
    checks: tuple[Check, ...]

    @property
    def problems(self) -> list[str]:
        """What is wrong, each with the checks and the backend where it is."""
        found: dict[tuple[str, str], list[str]] = {}
        for c in self.checks:
            if c.problem:
                found.setdefault((c.backend, c.problem), []).append(c.name)
        return [
            f"{' + '.join(names)}{'' if backend == '-' else f', backend {backend!r}'}: {problem}"
            for (backend, problem), names in found.items()
        ]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("check", "backend", "largest error", "allowed", "")]
        for c in self.checks:
            numbers = ["" if value is None else f"{value:.2g}" for value in (c.error, c.allowed)]
            rows.append((c.name, c.backend, *numbers, "FAILED" if c.problem else c.note))
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{a:{wide[0]}}  {b:{wide[1]}}  {e:>{wide[2]}}  {t:8}  {n}".rstrip() for a, b, e, t, n in rows]
        return "\n".join([self.subject, *lines])


def lacks_derivative(text: str) -> bool:
    """Whether an error says that torch itself has no derivative of one of its operators, mostly a second one."""
    return re.search(r"derivative for \S+ is not implemented", text) is not None


def attempt(name: str, backend: str, work: Callable[[], Check]) -> Check:
    """A check, failed where it raises."""
    try:
        return work()
    except BackendUnavailable:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        if lacks_derivative(text):
            return Check(name, backend, note=f"not run: torch says: {text}")
        return Check(name, backend, problem=f"it raised {type(error).__name__}: {text}")
