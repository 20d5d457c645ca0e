"""Kernels to be called one after another, and what each is told, but for where memory begins.

A kernel is told some dozens of addresses. For a cell and a shape they are always the same distances from where a few pieces of
memory begin; so they are worked out once, and a call adds those beginnings, all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy
from torch import Tensor

from . import threads
from .address import Address
from .drive import drive
from .llvm.kernels import Function
from .llvm.layout import PER_CALL


class _Nowhere:
    def data_ptr(self) -> int:
        return 0


NOWHERE: Any = _Nowhere()
"""Stands for a tensor at address 0. It is none: this module may be imported inside one of torch's transforms, which would
wrap a tensor that is made there for good."""

_NOTHING, _OWN = "", "the plan's own"
"""Memory that begins at 0, for what is no address or a known one; and where the plan's numbers themselves lie."""


class Plan:
    """Calls are added, then it is run as often as one likes, also in several threads at once.

    Attributes:
        memory: names of the pieces that `run` is given.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Function, int, Address]] = []
        self._entries: list[Address] = []
        self._held: list[Any] = []
        self._unused: list[tuple[Any, int]] = []  # where to lay out what a run fills in, and its address
        self._is_ready = False

    def call(self, kernels: Sequence[tuple[Function, int]], told: Sequence[int | Address], holds: Any = None) -> None:
        """Have kernels called, each with a number of parts, that are told the same.

        Args:
            kernels: in order; parts run side by side.
            told: their context.
            holds: what must live as long as the plan, since numbers among those told are its addresses.
        """
        context = Address(_OWN, len(self._entries) * 8)
        self._entries += [n if isinstance(n, Address) else Address(_NOTHING, n) for n in told]
        self._calls += [(function, parts, context) for function, parts in kernels]
        self._held.append(holds)

    def copy(self, to: Address, source: Address, size: int) -> None:
        """Have so many bytes copied, or zeros put there where the source's memory is `NOWHERE`."""
        self.call([(drive().copy, 1)], [to, source, size])

    def _prepare(self) -> None:
        """Lay out what a run fills in: the list of calls, then all that they are told."""
        size = PER_CALL * len(self._calls)
        entries: list[Address] = []
        for function, _, context in self._calls:
            entries += [Address(_NOTHING, function.address), context + size * 8]
        entries += self._entries
        self.memory = list(dict.fromkeys(e.memory for e in entries if e.memory not in (_NOTHING, _OWN)))
        number = {name: n for n, name in enumerate((_NOTHING, _OWN, *self.memory))}
        self._which = numpy.array([number[e.memory] for e in entries], dtype=numpy.intp)
        self._distances = numpy.array([e.bytes for e in entries], dtype=numpy.int64)
        runs: list[
            tuple[Function, int, int, int]
        ] = []  # function, first and last call or parts, distance of what it is told
        numbered = enumerate(self._calls)
        for is_alone, group in groupby(numbered, lambda call: call[1][1] == 1):
            calls = list(group)
            if is_alone:
                runs.append((drive().run, calls[0][0], calls[-1][0] + 1, 0))
            else:
                runs += [(function, 0, parts, context.bytes + size * 8) for _, (function, parts, context) in calls]
        self._runs = runs  # as a whole: another thread may be doing the same
        self._is_ready = True

    def run(self, memory: Mapping[str, Tensor]) -> None:
        """Make all calls. ``memory``: at least the pieces that they use, which live until this returns."""
        if not self._is_ready:
            self._prepare()
        try:
            told, own = self._unused.pop()
        except IndexError:
            told = numpy.empty(len(self._which), dtype=numpy.int64)
            own = told.ctypes.data
        begins = numpy.array([0, own, *[memory[name].data_ptr() for name in self.memory]], dtype=numpy.int64)
        begins.take(self._which, out=told, mode="wrap")
        told += self._distances
        run = drive().run
        for function, first, last, distance in self._runs:
            if function is run:
                run.call(first, last, own)
            else:
                threads.run(function, last, own + distance)
        self._unused.append((told, own))
