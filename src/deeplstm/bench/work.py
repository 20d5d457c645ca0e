"""What there is to measure: units of work, each of which is kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from deeplstm.errors import InputError

PARTS = ("grid", "examples", "packed", "streaming", "first-call", "busy", "product")
MINUTES = 40.0


@dataclass(frozen=True)
class Settings:
    """What a run was asked for. A report keeps them, and a run that goes on takes them from there.

    Attributes:
        quick: one tiny size and few turns, to see that everything works.
        parts: some of `PARTS`.
        cases: numbers of sizes of the grid; None: all.
        cells: names of cells; None: all.
        minutes: how long it should take at most. It says for how many sizes steps are compiled by torch, and after it
            contestants that are slow are left out or called once.
        threads: of the CPU; None: torch's own choice.
        examples: folder of cells that are in no package; None: that of a checkout, where there is one.
    """

    quick: bool = False
    parts: tuple[str, ...] = PARTS
    cases: tuple[int, ...] | None = None
    cells: tuple[str, ...] | None = None
    minutes: float = MINUTES
    threads: int | None = None
    examples: str | None = None

    def table(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, table: dict[str, Any]) -> Settings:
        """From what `table` gave. Raises: InputError for a table that is none of ours."""
        values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in table.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"These settings of a benchmark cannot be read: {error}.") from None


@dataclass
class Found:
    """What a unit gave.

    Attributes:
        rows: of its part's table.
        failed: what is wrong, for each contestant that is not timed because its results are.
        errors: what the checks saw, where it is a number.
        left_out: (what, why) for all that was not measured.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class Unit(NamedTuple):
    """Something to measure.

    Attributes:
        part: which of `PARTS` it belongs to.
        name: what it is called in the report, where a run that goes on looks for it.
        seconds: about how long it takes, beside the others.
        measure: does it. Given: whether there is time left for what is slow.
    """

    part: str
    name: str
    seconds: float
    measure: Callable[[bool], Found]
