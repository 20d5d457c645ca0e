"""What is wrong with options, in words: what was given, what was expected, what to do."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any


class Complaints:
    """Collects complaints about the fields of a dataclass, the `section` of a config; `lines` has them."""

    def __init__(self, section: str, choices: Any) -> None:
        self.section = section
        self.choices = choices
        self.lines: list[str] = []

    def unless(self, fine: bool, name: str, expected: str, advice: str) -> None:
        if not fine:
            given = shown(getattr(self.choices, name))
            self.lines.append(f"{self.section}.{name}={given}, but {expected}: {advice}.")

    def without(self, needed: str, names: Iterable[str], why: str) -> None:
        """Complain about options that change nothing because the option `needed` is missing."""
        if not getattr(self.choices, needed):
            for name in names:
                unchanged = getattr(self.choices, name) == default(self.choices, name)
                self.unless(unchanged, name, f"{why}, so it would change nothing", f"give {needed} or leave it out")


def default(choices: Any, name: str) -> Any:
    """What an option is where nobody chooses it."""
    return next(field.default for field in fields(choices) if field.name == name)


def shown(value: Any) -> str:
    """An option as one types it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
