"""A step compiled for the host, and the memory one stream has for it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ....program.inference import Inference, whole
from ....program.interpret import straight_line
from ....program.stages import stages
from ..llvm import kernels
from ..llvm.host import Host, host
from ..llvm.memory import Element
from . import helper
from .emit import KERNEL, emit
from .helper import lines
from .layout import COUNTERS, PACKED, Layout, layout

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int64)
"""Of a pointer as it is: to declare it would convert it at every call, which takes a tenth of one."""
_compiled: WeakValueDictionary[str, Code] = WeakValueDictionary()


class Code(kernels.Loaded):
    """Machine code: ``call(memory.pointer)`` runs the context's steps, without the interpreter lock."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.call = _FUNCTION(engine.get_function_address(KERNEL))


class Program:
    """A captured step, laid out; with kernels by number of rows.

    Attributes:
        step: as captured.
        layout: of its weights and its context.
    """

    def __init__(self, step: Inference, element: Element, weights: Element, embedding: int | None) -> None:
        self.step, self.embedding = step, embedding
        self.layout: Layout = layout(stages(whole(step), []), element, weights, host())
        self.linears = self.layout.linears
        roots = [*(n.args[1] for n in self.linears), *self.layout.sources]
        self.evaluate = straight_line(roots, list(step.weights.values()), dtype=getattr(torch, element))
        self._code: dict[int, Code] = {}

    def code(self, rows: int) -> Code:
        """The kernel for so many rows."""
        if rows not in self._code:
            place = self.layout.loop.kept[self.step.y]
            self._code[rows] = compiled(emit(self.layout, rows, place, self.embedding, host()), host())
        return self._code[rows]

    def pack(self, weights: Sequence[Tensor]) -> Packing:
        """Weights, in the order of the step's, as kernels read them."""
        with torch.no_grad():
            found = self.evaluate(*weights)
            n = len(self.linears)
            dtype = torch.bfloat16 if self.layout.weights == "bfloat16" else weights_dtype(self.layout.element)
            packed = self.layout.pack(list(found[:n]), dtype)
            sources = [s.detach().clone(memory_format=torch.contiguous_format) for s in found[n:]]
        return Packing(packed, sources)


class Packing:
    """Weights as kernels read them. Never written to: a change makes a new one, so that no step reads half of each."""

    def __init__(self, packed: Tensor, sources: list[Tensor]) -> None:
        self.packed, self.sources = packed, sources


class Memory:
    """What one stream has: its states, what is passed from stage to stage, and the context.

    Attributes:
        states: of each state two tensors (B, n): at even steps the first is read and the second written.
        context: numbers; see `layout`.
        pointer: to the context.
    """

    def __init__(self, program: Program, rows: int) -> None:
        loop, dtype = program.layout.loop, weights_dtype(program.layout.element)
        new = lambda buffer: torch.zeros(  # noqa: E731
            (rows, buffer.width), dtype=torch.bool if buffer.is_bool else dtype
        )
        self.layout = program.layout
        self.context = (ctypes.c_int64 * (self.layout.entries + 1))()
        self.pointer = ctypes.byref(self.context)
        self.states: list[tuple[Tensor, Tensor]] = []
        self.held: list[Tensor] = []
        pairs = dict(zip(loop.carried, loop.following, strict=True))
        done = set()
        for read, written in pairs.items():
            even, odd = new(read), new(written)
            self.states.append((even, odd))
            self._at(read, even, odd)
            self._at(written, odd, even)
            done |= {read, written}
        for buffer in loop.buffers:
            if buffer not in done and buffer.name != "x":
                one = new(buffer)
                self.held.append(one)
                self._at(buffer, one, one)
        self.counters, self.context[COUNTERS] = lines(self.layout.counters)

    def _at(self, buffer: Any, even: Tensor, odd: Tensor) -> None:
        at = self.layout.buffer_at(buffer)
        self.context[at], self.context[at + 1] = even.data_ptr(), odd.data_ptr()

    def use(self, packing: Packing) -> None:
        """Read these weights from the next step on."""
        self.packing = packing
        self.context[PACKED] = packing.packed.data_ptr()
        for node, source in zip(self.layout.sources, packing.sources, strict=True):
            self.context[self.layout.source_at(node)] = source.data_ptr()


def weights_dtype(element: Element) -> torch.dtype:
    return torch.float64 if element == "float64" else torch.float32


def compiled(text: str, host: Host) -> Code:
    """Compile a module, or take what an earlier call, or an earlier process, made of it."""
    helper.declare()
    return kernels.machine_code(text, lambda: text, host, _compiled, Code)
