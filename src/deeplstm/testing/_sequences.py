"""Whole sequences: the reference by itself, and every backend held to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendUnavailable
from ._compare import Results, compare, distances
from ._report import Check, attempt
from ._subject import SEED, Subject

_PLAIN, _CHUNKS, _ALL = "outputs and gradients", "two chunks", "everything"


def _cases(x: Tensor) -> dict[str, dict[str, Any]]:
    """Name -> what a sequence has: lengths in no order with a zero, resets at some steps of some rows, the direction."""
    T, B = x.shape[:2]
    lengths = [*(1 + b % T for b in range(B - 2)), 0, T]
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(SEED)) < 0.3
    resets[0, 0] = resets[-1, -1] = True
    resets = resets.to(x.device)
    return {
        _PLAIN: {},
        "unequal lengths": {"lengths": lengths},
        "resets": {"resets": resets},
        "reverse": {"reverse": True},
        "lengths, resets, reverse": {"lengths": lengths, "resets": resets, "reverse": True},
        "second derivatives": {"second": True},
        _CHUNKS: {"cut": T // 2},
    }


@dataclass
class Right:
    """What the reference gave, by case, and its own lines of the report."""

    results: dict[str, Results] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)


def reference(subject: Subject, quiet: Subject | None) -> Right:
    """Run the reference, which defines what is right; only two chunks have something to be compared with."""
    right = Right()

    def ran(case: str, on: Subject, sequence: dict[str, Any]) -> Check:
        right.results[case] = on.run("reference", **sequence)
        return Check(case, "reference", note="runs")

    def chunks(on: Subject, sequence: dict[str, Any]) -> Check:
        right.results[_CHUNKS] = on.run("reference")
        error, allowed, problem = compare(on.run("reference", **sequence), right.results[_CHUNKS])
        if problem:
            problem = (
                f"two parts of a sequence, one after the other, differ from the whole in {problem}; the state must hold all "
                "that a cell remembers. Look for values kept in the module."
            )
        return Check(_CHUNKS, "reference", error, allowed, "", problem)

    for case, sequence in _cases(subject.x).items():
        if case != _CHUNKS:
            right.checks.append(attempt(case, "reference", partial(ran, case, subject, sequence)))
        elif quiet is None:
            right.checks.append(Check(_CHUNKS, "reference", note="not run: the cell draws noise in evaluation too"))
        else:
            right.checks.append(attempt(_CHUNKS, "reference", partial(chunks, quiet, sequence)))
    return right


def on_backend(
    name: str, subject: Subject, quiet: Subject | None, right: dict[str, Results], is_asked_for: bool
) -> list[Check]:
    """One backend held to the reference, in every case that the reference could run."""

    def held(case: str, on: Subject, sequence: dict[str, Any]) -> Check:
        found = on.run(name, **sequence)
        error, allowed, problem = compare(found, right[case])
        if (
            problem and (wide := on.wide()) is not None
        ):  # a cell may make much of little: of a norm over equal numbers, say
            whole = {key: value for key, value in sequence.items() if key != "cut"}
            rounding = distances(right[case], wide.run("reference", **whole))
            error, allowed, problem = compare(found, right[case], rounding)
        if problem:
            problem = (
                f"it differs from the reference, the cell's own code in a loop, in {problem}. Where every check of the "
                "reference passes, that is a mistake of the backend: report it with this cell, and run it on another one."
            )
        return Check(case, name, error, allowed, "", problem)

    checks = []
    for case, sequence in _cases(subject.x).items():
        on = quiet if case == _CHUNKS else subject
        if on is None or case not in right:
            continue
        try:
            checks.append(attempt(case, name, partial(held, case, on, sequence)))
        except BackendUnavailable as error:
            why = _reasons(error)
            if case != _PLAIN:
                checks.append(Check(case, name, note=f"not run: {why}"))
            elif is_asked_for:
                problem = f"it cannot run this cell: {why}. It was asked for by name. Change the cell, or leave out backends=."
                return [Check(_ALL, name, problem=problem)]
            else:
                return [Check(_ALL, name, note=f"not run: {why}")]
    return checks


def _reasons(error: BackendUnavailable) -> str:
    """The reasons in a message of `dispatch.unavailable`, which has one backend here."""
    text = " ".join(str(error).split())
    return text.partition(": ")[2].rpartition(". Leave the choice")[0] or text
