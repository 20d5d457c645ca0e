"""Cells and their compiled programs, kept from call to call."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from ...call import Call, name_of
from ...garbage import no_collection
from ...program.capture import Signature, Step, call_of, capture
from ...program.rows import Unsupported
from ...state import tensors_of
from .attributes import Attributes, hooked, stamp
from .backward import BackwardRun
from .batch import Batch
from .directions import Backward, Forward, Wanted
from .forward import ForwardRun
from .llvm.elements import Element

ELEMENTS: dict[torch.dtype, Element] = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
}

MANY = 16
"""Values of a cell's attributes after which a word is said about it."""


SHAPES = 32
"""Of how many kinds of batches a program keeps what it has prepared."""


class Prepared:
    """A forward and, once it is asked for, the backward of it, for one kind of batch."""

    def __init__(
        self, programs: Programs, wanted: Wanted, batch: Batch, reverse: bool, are_once: Mapping[str, bool]
    ) -> None:
        self._programs = programs
        self._arguments = (programs.step, wanted, batch, reverse, are_once, programs.element)
        self.forward = ForwardRun(programs.forward(wanted), *self._arguments)

    @cached_property
    @no_collection()
    def backward(self) -> BackwardRun:
        return BackwardRun(self._programs.backward(self._arguments[1]), *self._arguments)


class Programs:
    """One captured step, what was compiled for it, and what was prepared for batches.

    ``constants``: names of buffers whose values are part of it.
    """

    def __init__(self, step: Step, element: Element, constants: Collection[str] = ()) -> None:
        self.step, self.element, self.constants = step, element, constants
        self._made: dict[tuple[type, Wanted], Any] = {}
        self._prepared: OrderedDict[tuple[Any, ...], Prepared] = OrderedDict()
        self._lock = RLock()

    def forward(self, wanted: Wanted) -> Forward:
        return self._get(Forward, wanted)

    def backward(self, wanted: Wanted) -> Backward:
        return self._get(Backward, wanted)

    def prepared(self, wanted: Wanted, batch: Batch, reverse: bool, noise: Mapping[str, Tensor]) -> Prepared:
        """Both directions, prepared for a batch."""
        are_once = {name: mask.shape[0] == 1 for name, mask in noise.items()}
        if batch.lengths is not None:  # other lengths, which hardly come a second time, are another batch
            return Prepared(self, wanted, batch, reverse, are_once)
        key = (wanted, batch.T, batch.B, reverse, torch.get_num_threads(), *are_once.values())
        found = self._prepared.get(key)
        if found is None:
            with no_collection():
                found = Prepared(self, wanted, batch, reverse, are_once)
            with self._lock:
                self._prepared[key] = found
                while len(self._prepared) > SHAPES:
                    self._prepared.popitem(last=False)
        return found

    def _get(self, kind: type, wanted: Wanted) -> Any:
        found = self._made.get((kind, wanted))
        if found is None:
            with self._lock:
                found = self._made.get((kind, wanted)) or self._make(kind, wanted)
                self._made[kind, wanted] = found
        return found

    def _make(self, kind: type, wanted: Wanted) -> Any:
        others = (self.forward(wanted),) if kind is Backward else ()
        return kind(self.step, self.element, wanted, *others)


class Known:
    """What is known of one cell: its programs by how it is called, and how to tell that it has changed."""

    def __init__(self, cell: nn.Module) -> None:
        self._programs: dict[Any, Programs | Unsupported] = {}
        self._last: tuple[Any, Any, Any] = (None, None, None)  # of the programs: keys take long to hash
        self._attributes = Attributes(cell)
        modules = list(cell.modules())
        self._modules = [ref(module) for module in modules]
        self._parts = [
            (type(module), [ref(child) for child in _children(module)], _tensors_in(module)) for module in modules
        ]
        self._tensors = [
            (f"{prefix}.{name}" if prefix else name, own, name)
            for prefix, module in cell.named_modules()
            for own, names in _tensors_in(module)
            for name in names
        ]
        self._names = frozenset(full for full, _, _ in self._tensors)
        are_buffers = {id(module._buffers) for module in modules}
        self._buffers = {full: (own, name) for full, own, name in self._tensors if id(own) in are_buffers}
        self._constants: list[str] = []  # buffers that are constants of a program

    def is_current(self) -> bool:
        """Whether the cell still has the modules, parameters and buffers it had, by name; their values may change."""
        for module, (kind, children, tensors) in zip([m() for m in self._modules], self._parts, strict=True):
            if type(module) is not kind:
                return False
            now = _children(module)
            if len(now) != len(children) or any(child is not then() for child, then in zip(now, children, strict=True)):
                return False
            for (own, names), (own_now, names_now) in zip(tensors, _tensors_in(module), strict=True):
                if own is not own_now or names != names_now:
                    return False
        return True

    def weights(self, call: Call) -> dict[str, Tensor]:
        """The tensors that equations may read as they are: parameters, those given in their place, and buffers.

        Not buffers of another dtype than the input, such as counts: a program has them as constants, if it reads them.
        """
        own = {full: tensors[name] for full, tensors, name in self._tensors}
        params, dtype = call.params, call.x.dtype
        if self._buffers:
            for name in self._buffers:
                if own[name].dtype is not dtype and (params is None or name not in params):
                    del own[name]
        if params is None:
            return own
        given = {id(own[name]): tensor for name, tensor in params.items() if name in own}  # tied weights stay tied
        return {**{name: given.get(id(tensor), tensor) for name, tensor in own.items()}, **params}

    def programs(self, call: Call, weights: dict[str, Tensor]) -> Programs:
        """The cell's programs, captured on the first call of its kind. Raises: `Unsupported`."""
        assert isinstance(call.step, nn.Module)
        kind, attributes = _kind(call, weights), self._values()
        if self._attributes.have_hooks and (why := hooked(call.step)):
            raise Unsupported(why)
        if call.params is not None and not self._names.issuperset(call.params):
            raise Unsupported("params by the second name of a module that has two")
        if attributes is self._last[1] and kind == self._last[0]:
            return self._last[2]
        found = self._programs.get((kind, attributes))
        if found is None:
            with _lock, no_collection():
                found = self._programs.get((kind, attributes)) or self._captured(call, weights)
                attributes = self._values()  # of more buffers, if it has read one
                self._programs[kind, attributes] = found
                if sum(known == kind for known, _ in self._programs) == MANY:
                    warnings.warn(
                        f"The attributes of {name_of(call.step)} have had {MANY} different values, and each is compiled anew, "
                        "which takes a second. Register what changes during training as a buffer.",
                        stacklevel=2,
                    )
        if isinstance(found, Unsupported):
            raise found
        self._last = (kind, attributes, found)
        return found

    def _values(self) -> Any:
        """Equal as long as a program captured before holds: of attributes, and of the buffers that are constants."""
        attributes = self._attributes.read()
        if not self._constants:
            return attributes
        buffers = [self._buffers[name] for name in self._constants]
        return attributes, tuple([stamp(own[name]) for own, name in buffers])

    def _captured(self, call: Call, weights: dict[str, Tensor]) -> Programs | Unsupported:
        assert isinstance(call.step, nn.Module)
        loose = [name for name in self._buffers if name not in weights]
        try:
            step_call = call_of(call.step, loose, call.x.dtype)
            # in a thread of its own, where nothing of the caller's is in force: hooks on saved tensors, modes, autocast
            with ThreadPoolExecutor(1) as other:
                step = other.submit(capture, step_call, signature_of(call, weights)).result()
        except Unsupported as reason:
            return reason
        self._constants += step_call.read.difference(self._constants)
        return Programs(step, ELEMENTS[call.x.dtype], step_call.read)


def _tensors_in(module: nn.Module) -> list[tuple[dict[str, Any], list[str]]]:
    """A module's own parameters and buffers: where they are, and the names of those that are there."""
    return [(own, [n for n, t in own.items() if t is not None]) for own in (module._parameters, module._buffers)]


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module._modules.values() if child is not None]


_of_cells: WeakKeyDictionary[nn.Module, Known] = WeakKeyDictionary()
_lock = RLock()


def known_of(cell: nn.Module) -> Known:
    """What is known of a cell; forgotten with it."""
    found = _of_cells.get(cell)
    if found is None or not found.is_current():
        found = _of_cells[cell] = Known(cell)
    return found


def _kind(call: Call, weights: dict[str, Tensor]) -> tuple[Any, ...]:
    """How a cell is called, as far as its program depends on it."""
    noise = None if call.noise is None else tuple([(n, m.shape[-1], m.dtype) for n, m in call.noise.items()])
    states = tuple([s.shape[1] for s in tensors_of(call.state)])
    shapes = tuple([w.shape for w in weights.values()])
    return (call.x.shape[-1], call.x.dtype, states, noise, shapes, call.trace)


def signature_of(call: Call, weights: dict[str, Tensor]) -> Signature:
    noise = tuple((name, mask.shape[-1], mask.dtype == torch.bool) for name, mask in (call.noise or {}).items())
    return Signature(
        tuple((name, tuple(w.shape)) for name, w in weights.items()),
        call.x.shape[-1],
        tuple(s.shape[1] for s in tensors_of(call.state)),
        isinstance(call.state, tuple),
        noise,
        call.noise is not None,
        # torch's own derivatives widen bfloat16 in between; kernels compute with float32 anyway
        torch.float32 if call.x.dtype == torch.bfloat16 else call.x.dtype,
        call.trace,
    )
