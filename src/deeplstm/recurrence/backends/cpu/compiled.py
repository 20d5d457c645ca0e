"""A loop compiled for the host, and how it is told where its memory lies."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ...program.graph import Node, order
from ...program.interpret import Product, straight_line
from ...program.split import Split
from ...program.stages import Columns, stages
from . import threads
from .address import Address
from .batch import Batch
from .llvm.elements import BYTES, Element
from .llvm.host import host
from .llvm.kernels import compile_ir, compiled
from .llvm.layout import layout
from .llvm.shared import shared
from .plan import Plan
from .space import Space

Entry = tuple[Address, int]
"""Of a buffer, and of a table that has, at place t, the first row of step t."""


class CompiledLoop:
    """A split's loop as machine code.

    Attributes:
        loop: its stages.

    ``identity``: a text that tells this loop from every other one, by which its kernel is found without writing it.
    """

    def __init__(
        self,
        split: Split,
        element: Element,
        *,
        before: Sequence[Product] = (),
        is_backward: bool = False,
        resets: bool = False,
        wholes: Sequence[Columns] = (),
        kept_at: Sequence[Columns] = (),
        overwrites: bool = False,
        identity: str = "",
    ) -> None:
        self.loop = stages(
            split,
            before,
            is_backward=is_backward,
            resets=resets,
            wholes=wholes,
            kept_at=kept_at,
            overwrites=overwrites,
        )
        self.layout = layout(self.loop, element, host())
        self.kernel = compiled(identity, self._written, host()) if identity else compile_ir(self._written(), host())
        self.shared = [shared(library, host()) for library in self.layout.libraries]
        totals = set(self.loop.totals.values())
        self._scratch = [  # bytes a row of each, in the order of the buffers
            b.width * BYTES["bool" if b.is_bool else element]
            for b in self.layout.buffers
            if not b.steps and b not in totals
        ]
        self.names = [b.name for b in self.layout.buffers if b.steps or b in totals]
        linears = [n for p in self.layout.packed for group in p.stage.groups.values() for n in group]
        stored = sum(p.buffer.width for s in self.loop.stages for _, p in (*s.stores, *s.totals))
        self.work_per_row = sum(n.args[0].width * n.width for n in linears) + 20 * stored

    def _written(self) -> str:
        from .llvm.emit import emit  # what writes kernels is not loaded where the cache has them all

        return str(emit(self.loop, self.layout))

    def add_to(
        self, plan: Plan, space: Space, batch: Batch, descending: bool, others: Mapping[str, Entry] | None = None
    ) -> None:
        """Have a plan run the loop.

        Args:
            plan: what it is told is added there; sources by their `source_name`.
            space: addresses of rows of all steps, by name.
            batch: which rows have which steps.
            descending: from the last step to the first.
            others: the buffers that lie otherwise.
        """
        B, size, steps = batch.B, self.layout.packed_size, batch.steps.address
        bounds = threads.share(batch.rows * self.work_per_row, B, batch.counts, bool(self.loop.carried))
        shares = (ctypes.c_int64 * len(bounds))(*bounds)
        parts = threads.parts(size)
        packed, *scratch = space.take_scratch(
            [size * space.element_bytes, *(B * bytes_a_row for bytes_a_row in self._scratch)]
        )
        told: list[int | Address] = [
            batch.T,
            batch.T - 1 if descending else 0,
            -1 if descending else 1,
            batch.active.address,
            ctypes.addressof(shares),
            packed,
            B == 1,
            parts,
        ]
        for name in self.names:
            told += others[name] if others and name in others else (space.at[name], steps)
        for address in scratch:
            told += (address, batch.zeros.address)
        told += [Address(source_name(node)) for node in self.layout.sources]
        told += [s.table for s in self.shared]
        kernels = [(self.kernel.prepare, parts)] if size else []
        plan.call([*kernels, (self.kernel.run, len(bounds) - 1)], told, holds=(batch, shares))


def source_name(node: Node) -> str:
    """Of the memory of a weight, or of what torch computes of weights."""
    return f"source {node.id}"


class Sources:
    """What loops read that has no rows: weights, and what torch computes of them."""

    def __init__(self, loops: Iterable[CompiledLoop], weights: Mapping[str, Node], element: Element) -> None:
        nodes = dict.fromkeys(node for loop in loops for node in loop.layout.sources)
        known = needed(list(nodes), list(weights.values()))
        places = {node: n for n, node in enumerate(weights.values())}
        self._names = [source_name(node) for node in nodes]
        self._known = [places[node] for node in known]
        self._evaluate = straight_line(list(nodes), known, dtype=getattr(torch, element))

    def __call__(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """Their memory. ``weights``: all of the cell's, in order."""
        values = self._evaluate(*[weights[n] for n in self._known])
        return {name: value.contiguous() for name, value in zip(self._names, values, strict=True)}


def needed(roots: Sequence[Node], known: Sequence[Node]) -> list[Node]:
    """Those of the known nodes that the roots are computed from."""
    given = set(known)
    found = {n for n in order(roots, lambda n: n in given) if n in given}
    return [n for n in known if n in found]
