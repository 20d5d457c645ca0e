"""Which backend runs a call, and why not the others.

Backends stand in one ordered list; each answers ``why_not(call)`` with its reasons, and may answer ``why_rather_not(call)``
with reasons for which another one is faster. "auto" takes the first that has none; a backend asked for by name runs or raises.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType

import torch

from ..errors import BackendUnavailable
from .backends import cpu, reference, torch_fused
from .call import Call, name_of

BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "torch": torch_fused, "reference": reference}

_INSIDE = tuple(
    os.path.dirname(module.__file__ or "") + os.sep for module in (sys.modules[__package__.split(".")[0]], torch)
)
"""Where files lie that no user wrote: ours and torch's."""

_warned: set[str] = set()
_forced: ContextVar[str] = ContextVar("deeplstm_backend", default="auto")
_recorder: ContextVar[tuple[list[Record], Callable[[], str]] | None] = ContextVar("deeplstm_recorder", default=None)


@dataclass(frozen=True)
class Record:
    """One decision: in which layer, what ran, on which backend, and why the earlier ones in the list did not."""

    layer: str
    what: str
    backend: str
    passed_over: dict[str, list[str]] = field(default_factory=dict)


def checked_name(name: str) -> str:
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"backend={name!r} is given, one of auto, {', '.join(BACKENDS)} is expected.")
    return name


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run everything inside on one backend: "reference", "torch", or "auto" for the choice by itself.

    A forced backend runs or raises `BackendUnavailable` with its reasons. Holds for this thread (or task) alone.

    >>> import torch, deeplstm
    >>> with deeplstm.backend("reference"):
    ...     y, state = deeplstm.LSTM(3, 4)(torch.zeros(5, 2, 3))
    """
    token = _forced.set(checked_name(name))
    try:
        yield
    finally:
        _forced.reset(token)


def candidates() -> list[str]:
    """What "auto" chooses among: all backends in order, or those that the environment variable DEEPLSTM_BACKENDS names."""
    asked = os.environ.get("DEEPLSTM_BACKENDS")
    if not asked:
        return list(BACKENDS)
    names = [name.strip() for name in asked.split(",")]
    if unknown := [name for name in names if name not in BACKENDS]:
        raise ValueError(
            f"DEEPLSTM_BACKENDS={asked!r} is set, but {', '.join(unknown)} is no backend: give some of {', '.join(BACKENDS)}, "
            "with commas between them, or unset it."
        )
    return names


def forced() -> str:
    """The backend that is asked for here, or "auto"."""
    return _forced.get()


def record(what: str, name: str, passed_over: dict[str, list[str]] | None = None) -> None:
    """Note a decision for `recording`."""
    recorder = _recorder.get()
    if recorder is not None:
        records, layer = recorder
        records.append(Record(layer(), what, name, passed_over or {}))


@contextmanager
def recording(layer: Callable[[], str]) -> Iterator[list[Record]]:
    """Collect the decisions made inside; ``layer`` names the layer that is running."""
    records: list[Record] = []
    token = _recorder.set((records, layer))
    try:
        yield records
    finally:
        _recorder.reset(token)


def choose(call: Call, name: str | None = None) -> ModuleType:
    """The backend that runs a call."""
    wanted = forced() if name is None else checked_name(name)
    passed_over: dict[str, list[str]] = {}
    for candidate in candidates() if wanted == "auto" else [wanted]:
        module = BACKENDS[candidate]
        reasons = module.why_not(call)
        if wanted == "auto" and not reasons and hasattr(module, "why_rather_not"):
            reasons = module.why_rather_not(call)
        if not reasons:
            record(name_of(call.step), candidate, passed_over)
            if candidate == "reference" and "no program" in call.notes:
                warn(call)
            return module
        passed_over[candidate] = reasons
    raise unavailable(name_of(call.step), passed_over)


def kernels_for(call: Call) -> ModuleType | None:
    """The kernels, for a call that nothing else can run, where they are wanted and can."""
    if forced() not in ("auto", "cpu") or "cpu" not in candidates() or cpu.why_not(call):
        return None
    record(name_of(call.step), "cpu")
    return cpu


def warn(call: Call) -> None:
    """Say once that a cell runs in a slow loop because of something in its code."""
    message = (
        f"{name_of(call.step)} runs on the reference backend, a loop in Python: programs lack "
        f"{call.notes['no program']}. Write it without that to have it compiled, or choose backend='reference'."
    )
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """The ``stacklevel`` of a warning that is to point to the line from which this package was called."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    return level


def unavailable(what: str, passed_over: dict[str, list[str]]) -> BackendUnavailable:
    """The error for a backend that was asked for and cannot run."""
    reasons = " ".join(f"backend {name!r} cannot run {what}: {'; '.join(r)}." for name, r in passed_over.items())
    return BackendUnavailable(
        f"{reasons} Leave the choice to backend='auto', or use 'reference', which runs everything."
    )
