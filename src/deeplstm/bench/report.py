"""The file of a run: every number, whole after every unit of work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deeplstm.bench.work import PARTS, Found, Settings, Unit
from deeplstm.errors import InputError
from deeplstm.training.files import write_atomic

FORMAT = 4
TABLES = {part: "rows" if part == "grid" else part.replace("-", "_") for part in PARTS}
"""Under which name the rows of a part stand."""

OF_THE_MOMENT = ("date",)
"""What may differ where a run goes on."""


class Report:
    """What was measured so far, in memory and on the disk.

    Attributes:
        path: of the file.
        data: what is in it.
    """

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data

    @classmethod
    def new(cls, path: Path, settings: Settings, facts: dict[str, Any]) -> Report:
        """An empty one. Its file is made with the first unit; its folder now."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"format": FORMAT, **facts, "dtype": "float32", "settings": settings.table()}
        lists: list[str] = ["done", "failed", "errors", "left_out", *TABLES.values()]
        return cls(path, {**data, **{name: [] for name in lists}})

    @classmethod
    def open(cls, path: Path) -> Report:
        """One that was written before. Raises: InputError for what is none."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise InputError(f"{path} has format {data['format']}, but {FORMAT} is expected: measure anew.")
            missing = [name for name in ("settings", "done", *TABLES.values()) if name not in data]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path} is no report of a benchmark: a file that `deeplstm bench` wrote is expected."
            ) from None
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}: a file that `deeplstm bench` wrote is expected.")
        return cls(path, data)

    @property
    def settings(self) -> Settings:
        return Settings.of(self.data["settings"])

    @property
    def seconds(self) -> float:
        """How long everything in it took."""
        return float(sum(unit["seconds"] for unit in self.data["done"]))

    @property
    def failed(self) -> list[str]:
        return [entry["what"] for entry in self.data["failed"]]

    def require_same(self, facts: dict[str, Any]) -> None:
        """InputError where the machine or a version is another than the one that it was begun with."""
        changed = [
            f"{name} was {self.data.get(name)}, is {value}"
            for name, value in facts.items()
            if name not in OF_THE_MOMENT and self.data.get(name) != value
        ]
        if changed:
            raise InputError(
                f"{self.path} was begun under other circumstances: {'; '.join(changed)}. Numbers of one table are measured in "
                "one place: go on there, or measure anew."
            )

    def has(self, unit: Unit) -> bool:
        return any(done["unit"] == unit.name for done in self.data["done"])

    def add(self, unit: Unit, found: Found, seconds: float) -> None:
        """Keep what a unit gave."""
        self.forget_failures(unit)
        self.data["done"].append({"unit": unit.name, "seconds": seconds})
        self.data[TABLES[unit.part]] += found.rows
        self.data["errors"] += found.errors
        self.data["failed"] += [{"unit": unit.name, "what": what} for what in found.failed]
        for what, why in found.left_out:
            self.leave_out(what, why, unit.name)
        self.save()

    def fail(self, unit: Unit, what: str) -> None:
        """Keep that a unit could not be measured; a run that goes on tries again."""
        self.forget_failures(unit)
        self.data["failed"].append({"unit": unit.name, "what": what})
        self.save()

    def forget_failures(self, unit: Unit) -> None:
        self.data["failed"] = [entry for entry in self.data["failed"] if entry["unit"] != unit.name]

    def leave_out(self, what: str, why: str, where: str | None = None) -> None:
        """Keep what was not measured: one entry for each thing and reason, with all the places."""
        entries = self.data["left_out"]
        entry = next((e for e in entries if (e["what"], e["why"]) == (what, why)), None)
        if entry is None:
            entry = {"what": what, "why": why, "where": []}
            entries.append(entry)
        if where is not None and where not in entry["where"]:
            entry["where"].append(where)

    def forget_left_out(self) -> None:
        """Drop what was left out of the run as a whole, to be looked for again; what units left out stays."""
        done = {unit["unit"] for unit in self.data["done"]}
        self.data["left_out"] = [entry for entry in self.data["left_out"] if done & set(entry["where"])]

    def save(self) -> None:
        self.data["minutes"] = self.seconds / 60
        write_atomic(self.path, (json.dumps(self.data, indent=1, allow_nan=False) + "\n").encode())
