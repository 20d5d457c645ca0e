"""A loop compiled for the host, and how it is told where its memory lies."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...program.graph import Node, order
from ...program.interpret import Product, straight_line
from ...program.split import Split
from ...program.stages import Columns, stages
from . import threads
from .batch import Batch
from .llvm.elements import BYTES, Element
from .llvm.host import host
from .llvm.kernels import compile_ir, compiled
from .llvm.layout import layout
from .llvm.shared import shared

Entry = tuple[int, int]
"""Addresses: of a buffer, and of a table that has, at place t, the first row of step t."""

SKEW_BYTES = 64
"""Between values that lie side by side; see `space.SKEW_BYTES`."""


class CompiledLoop:
    """A split's loop as machine code.

    Attributes:
        loop: its stages.
        known: the weights that the kernel reads, or that torch computes its sources from.

    ``identity``: a text that tells this loop from every other one, by which its kernel is found without writing it.
    """

    def __init__(
        self,
        split: Split,
        element: Element,
        weights: Sequence[Node],
        *,
        before: Sequence[Product] = (),
        resets: bool = False,
        wholes: Sequence[Columns] = (),
        kept_at: Sequence[Columns] = (),
        overwrites: bool = False,
        identity: str = "",
    ) -> None:
        self.loop = stages(split, before, resets=resets, wholes=wholes, kept_at=kept_at, overwrites=overwrites)
        self.layout = layout(self.loop, element, host())
        self.kernel = compiled(identity, self._written, host()) if identity else compile_ir(self._written(), host())
        self.shared = [shared(library, host()) for library in self.layout.libraries]
        self.known = needed(self.layout.sources, weights)
        self._sources = straight_line(self.layout.sources, self.known, dtype=getattr(torch, element))
        totals = set(self.loop.totals.values())
        self._scratch, self._scratch_width = [], 0  # bytes a row before each, in the order of the buffers
        for buffer in self.layout.buffers:
            if not buffer.steps and buffer not in totals:
                self._scratch.append(self._scratch_width)
                self._scratch_width += buffer.width * BYTES["bool" if buffer.is_bool else element]
        self.names = [b.name for b in self.layout.buffers if b.steps or b in totals]
        linears = [n for p in self.layout.packed for group in p.stage.groups.values() for n in group]
        stored = sum(p.buffer.width for s in self.loop.stages for _, p in (*s.stores, *s.totals))
        self.work_per_row = sum(n.args[0].width * n.width for n in linears) + 20 * stored
        self._context = ctypes.c_int64 * self.layout.size

    def _written(self) -> str:
        from .llvm.emit import emit  # what writes kernels is not loaded where the cache has them all

        return str(emit(self.loop, self.layout))

    def run(
        self,
        batch: Batch,
        descending: bool,
        at: Mapping[str, int],
        others: Mapping[str, Entry],
        weights: Mapping[Node, Tensor],
        like: Tensor,
    ) -> None:
        """Run the loop.

        Args:
            batch: which rows have which steps.
            descending: from the last step to the first.
            at: addresses of rows of all steps, by name.
            others: the buffers that lie otherwise.
            weights: at least those that are ``known``.
            like: of the dtype that is computed with.
        """
        B, size, steps = batch.B, self.layout.packed_size, batch.steps.address
        sources = [s.contiguous() for s in self._sources(*[weights[n] for n in self.known])]
        packed = like.new_empty(size)
        bounds = threads.share(batch.rows * self.work_per_row, B, batch.counts, bool(self.loop.carried))
        shares = (ctypes.c_int64 * len(bounds))(*bounds)
        parts = threads.parts(size)
        entries = [
            batch.T,
            batch.T - 1 if descending else 0,
            -1 if descending else 1,
            batch.active.address,
            ctypes.addressof(shares),
            packed.data_ptr(),
            B == 1,
            parts,
        ]
        for name in self.names:
            entries += others.get(name) or (at[name], steps)
        if self._scratch:
            scratch = like.new_empty(B * self._scratch_width + SKEW_BYTES * len(self._scratch), dtype=torch.uint8)
            start, zeros = scratch.data_ptr(), batch.zeros.address
            for width in self._scratch:
                entries += (start + B * width, zeros)
                start += SKEW_BYTES
        entries += [s.data_ptr() for s in sources]
        entries += [s.table for s in self.shared]
        context = self._context(*entries)
        address = ctypes.addressof(context)
        if size:
            threads.run(self.kernel.prepare, parts, address)
        threads.run(self.kernel.run, len(bounds) - 1, address)


def needed(roots: Sequence[Node], known: Sequence[Node]) -> list[Node]:
    """Those of the known nodes that the roots are computed from."""
    given = set(known)
    found = {n for n in order(roots, lambda n: n in given) if n in given}
    return [n for n in known if n in found]
