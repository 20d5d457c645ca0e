"""A loop compiled for the host, and how it is given its memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...program.graph import Graph, Node, order
from ...program.interpret import products, straight_line
from ...program.split import Split
from ...program.stages import stages
from . import threads
from .emit import emit, layout
from .host import host
from .kernels import compile_ir
from .memory import Element


@dataclass(frozen=True)
class Walk:
    """Which steps are run, in which order, for which rows.

    Attributes:
        T, B: steps and rows.
        descending: from the last step to the first.
        active: (T,) int64, how many rows (the first ones) have each step.
        counts: of each row, how many steps it has; None where all have T.
    """

    T: int
    B: int
    descending: bool
    active: Tensor
    counts: list[int] | None

    @property
    def read(self) -> int:
        """Which slot a step reads a carried value from, beside its own number."""
        return 1 if self.descending else 0

    @property
    def write(self) -> int:
        return 0 if self.descending else 1


Entry = tuple[Tensor, int, int, int]
"""What a kernel is told of a buffer: where it is (the tensor, so that it lives as long as it is used), bytes a step, mask of
the slot, offset of the slot of step t from t."""


def steps_of(tensor: Tensor, offset: int = 0) -> Entry:
    """A buffer (slots, B, width) with a slot for every step, or one for all of them."""
    if tensor.shape[0] == 1:
        return tensor, 0, 0, 0
    return tensor, tensor.stride(0) * tensor.element_size(), -1, offset


def pair_of(tensor: Tensor, offset: int) -> Entry:
    """A buffer (2, B, width) whose slots take turns."""
    return tensor, tensor.stride(0) * tensor.element_size(), 1, offset


def one_of(tensor: Tensor) -> Entry:
    """A buffer (B, width) that is the same at every step."""
    return tensor, 0, 0, 0


class CompiledLoop:
    """A split with its loop as machine code.

    Attributes:
        prepare: weights and (T * B, width) rows, in the order of ``known`` -> what comes before the loop, in the order of
            ``before`` (buffers' names), then the kernel's sources.
    """

    def __init__(
        self, graph: Graph, split: Split, element: Element, known: Sequence[Node], *, resets: bool = False
    ) -> None:
        self.split = split
        self.known = list(known)
        merged = products(graph, order(split.before, lambda n: n in split.outside or n.kind == "free"))
        self.after = products(graph, split.after)
        self.loop = stages(split, merged, resets=resets)
        self.layout = layout(self.loop, element, host())
        self.kernel = compile_ir(str(emit(self.loop, self.layout)), host())
        whole_of = {n: product.whole for product in merged for n, _ in product.columns}
        before = {self.loop.places[n].buffer.name: whole_of.get(n, n) for n in split.before}
        self.before = list(before)
        self.prepare = straight_line([*before.values(), *self.layout.sources], self.known, merged)
        totals = set(self.loop.totals.values())
        self.scratch = [b for b in self.loop.buffers if not b.steps and b not in totals]
        self.names = [b.name for b in self.layout.buffers]
        linears = [n for p in self.layout.packed for group in p.stage.groups.values() for n in group]
        stored = sum(p.buffer.width for s in self.loop.stages for _, p in (*s.stores, *s.totals))
        self.work_per_row = sum(n.args[0].width * n.width for n in linears) + 20 * stored

    def run(self, walk: Walk, buffers: dict[str, Entry], sources: Sequence[Tensor], like: Tensor) -> None:
        """Run the loop.

        Args:
            walk: the steps.
            buffers: every buffer that is not only used inside the loop.
            sources: what ``prepare`` gave for the kernel.
            like: of the dtype that is computed with.
        """
        B = walk.B
        scratch = [like.new_empty((B, b.width), dtype=torch.bool if b.is_bool else like.dtype) for b in self.scratch]
        for b, tensor in zip(self.scratch, scratch, strict=True):
            buffers[b.name] = one_of(tensor)
        sources = [s.contiguous() for s in sources]
        packed = like.new_empty(self.layout.packed_size)
        bounds = threads.share(walk.T * B * self.work_per_row, B, walk.counts)
        shares = (ctypes.c_int64 * len(bounds))(*bounds)
        context = (ctypes.c_int64 * self.layout.size)(
            walk.T,
            walk.T - 1 if walk.descending else 0,
            -1 if walk.descending else 1,
            walk.active.data_ptr(),
            ctypes.addressof(shares),
            packed.data_ptr(),
            *(number for name in self.names for number in (buffers[name][0].data_ptr(), *buffers[name][1:])),
            *(s.data_ptr() for s in sources),
        )
        address = ctypes.addressof(context)
        self.kernel.prepare(0, 1, address)
        threads.run(self.kernel, len(bounds) - 1, address)
