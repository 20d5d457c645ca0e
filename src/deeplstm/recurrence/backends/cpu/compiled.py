"""A loop compiled for the host, and how it is given its memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ...program.graph import Graph, Node, order
from ...program.interpret import products, straight_line
from ...program.split import Split
from ...program.stages import Columns, stages
from . import threads
from .batch import Batch, Table
from .emit import emit
from .host import host
from .kernels import compile_ir, compiled
from .layout import layout
from .memory import Element
from .shared import shared

Entry = tuple[Tensor, int]
"""What a kernel is told of a buffer: where it is, and the address of a table that has, at place t, the first row of step t."""


def at_steps(rows: Tensor, batch: Batch) -> Entry:
    """Rows of every step, (rows, n)."""
    return rows, batch.steps.address


def at_all_steps(rows: Tensor, batch: Batch) -> Entry:
    """Rows of the batch that are the same at every step, (B, n)."""
    return rows, batch.zeros.address


def at_slots(slots: Tensor, table: Table, descending: bool) -> tuple[Entry, Entry]:
    """Of a carried value: what a step reads, and what it writes."""
    read, write = (slots, table.address), (slots, table.address + ctypes.sizeof(ctypes.c_int64))
    return (write, read) if descending else (read, write)


class CompiledLoop:
    """A split with its loop as machine code.

    Attributes:
        prepare: weights and rows of all steps, in the order of ``known`` -> what comes before the loop, in the order of
            ``before`` (buffers' names), then the kernel's sources.

    ``identity``: a text that tells this loop from every other one, by which its kernel is found without writing it.
    """

    def __init__(
        self,
        graph: Graph,
        split: Split,
        element: Element,
        known: Sequence[Node],
        *,
        resets: bool = False,
        wholes: Sequence[Columns] = (),
        overwrites: bool = False,
        identity: str = "",
    ) -> None:
        self.split = split
        merged = products(graph, order(split.before, lambda n: n in split.outside or n.kind == "free"))
        self.after = products(graph, split.after)
        self.loop = stages(split, merged, resets=resets, wholes=wholes, overwrites=overwrites)
        self.layout = layout(self.loop, element, host())
        write = lambda: str(emit(self.loop, self.layout))  # noqa: E731
        self.kernel = compiled(identity, write, host()) if identity else compile_ir(write(), host())
        self.shared = [shared(library, host()) for library in self.layout.libraries]
        whole_of = {n: product.whole for product in merged for n, _ in product.columns}
        before = {self.loop.places[n].buffer.name: whole_of.get(n, n) for n in split.before}
        self.before = list(before)
        results = [*before.values(), *self.layout.sources]
        self.known = needed(results, known, merged)
        self.prepare = straight_line(results, self.known, merged, dtype=getattr(torch, element))
        totals = set(self.loop.totals.values())
        self.scratch = [b for b in self.loop.buffers if not b.steps and b not in totals]
        self.names = [b.name for b in self.layout.buffers]
        linears = [n for p in self.layout.packed for group in p.stage.groups.values() for n in group]
        stored = sum(p.buffer.width for s in self.loop.stages for _, p in (*s.stores, *s.totals))
        self.work_per_row = sum(n.args[0].width * n.width for n in linears) + 20 * stored
        self._context = ctypes.c_int64 * self.layout.size

    def run(
        self, batch: Batch, descending: bool, buffers: dict[str, Entry], sources: Sequence[Tensor], like: Tensor
    ) -> None:
        """Run the loop.

        Args:
            batch: which rows have which steps.
            descending: from the last step to the first.
            buffers: every buffer that is not only used inside the loop.
            sources: what ``prepare`` gave for the kernel.
            like: of the dtype that is computed with.
        """
        B, size = batch.B, self.layout.packed_size
        for b in self.scratch:
            scratch = like.new_empty((B, b.width), dtype=torch.bool if b.is_bool else like.dtype)
            buffers[b.name] = at_all_steps(scratch, batch)
        sources = [s.contiguous() for s in sources]
        packed = like.new_empty(size)
        bounds = threads.share(batch.rows * self.work_per_row, B, batch.counts)
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
            tensor, table = buffers[name]
            entries += (tensor.data_ptr(), table)
        entries += [s.data_ptr() for s in sources]
        entries += [s.table for s in self.shared]
        context = self._context(*entries)
        address = ctypes.addressof(context)
        if size:
            threads.run(self.kernel.prepare, parts, address)
        threads.run(self.kernel.run, len(bounds) - 1, address)


def needed(roots: Sequence[Node], known: Sequence[Node], merged: Sequence[object] = ()) -> list[Node]:
    """Those of the known nodes that the roots are computed from."""
    given = set(known)
    found = {n for n in order(roots, lambda n: n in given) if n in given}
    return [n for n in known if n in found]
