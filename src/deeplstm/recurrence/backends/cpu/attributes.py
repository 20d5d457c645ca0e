"""What a cell's equations depend on beside its tensors: numbers, flags, names, functions, loose tensors.

A program holds their values, so each call must know whether one has changed. Nearly none does: what cannot change in itself
is compared by identity, and lists, dicts, sets, tensors, arrays and records (dataclasses, namespaces) are looked into.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
LARGEST_ARRAY = 4096
"""Numbers of an array that are compared at every call; of a larger one it is only seen whether it is another array."""


def hooked(cell: nn.Module) -> str | None:
    """Which module of a cell has a hook: kernels run equations, and would pass by whatever a hook sees or changes."""
    if _has_any_global_hook():
        return "hooks on all modules (torch.nn.modules.module.register_module_...)"
    for name, module in cell.named_modules():
        for attribute, kind in _HOOKS.items():
            for hook in getattr(module, attribute).values():
                if not getattr(hook, "only_watches", False):  # see `tracing.only_watches`
                    where = f"its {type(module).__name__} {name!r}" if name else "the cell itself"
                    return f"hooks, and {where} has a {kind}"
    return None


class Attributes:
    """The attributes of a cell and its modules that are no parameters, buffers or modules."""

    def __init__(self, cell: nn.Module) -> None:
        self._modules = [
            ref(module) for module in cell.modules()
        ]  # which may hold the cell: it is not kept alive for this
        self.have_hooks = False
        self._note()

    def _note(self) -> None:
        owned = self._owned()
        self._lengths = list(map(len, owned))
        given = [
            (number, name, value)
            for number, own in enumerate(owned)
            for name, value in own.items()
            if name not in _OF_EVERY_MODULE and not isinstance(value, nn.Module)
        ]
        self._names = [(number, name, _held(value)) for number, name, value in given]
        self._inside = [(value, _parts(value)) for _, _, value in given if isinstance(value, list | dict | set)]
        self._records = [
            (_held(value), [_held(part) for part in _parts(value)]) for _, _, value in given if _is_record(value)
        ]
        self._deep = [_held(value) for _, _, value in given if _is_deep(value)]
        self._fixed = (*self._lengths, *(_key(value) for _, _, value in given))

    def _owned(self) -> list[dict[str, Any]]:
        """The attributes of every module."""
        return [vars(module()) for module in self._modules]

    def read(self) -> Hashable:
        """Equal as long as all of them are. Notes whether there are hooks: `hooked` says where."""
        owned = self._owned()
        self.have_hooks = _has_any_global_hook()
        for own in owned:
            if (
                own["_forward_hooks"]
                or own["_forward_pre_hooks"]
                or own["_backward_hooks"]
                or own["_backward_pre_hooks"]
            ):
                self.have_hooks = True
        if not self._are_same(owned):
            self._note()
        if not self._deep:
            return self._fixed
        return self._fixed, tuple([_key(value() if type(value) is ref else value) for value in self._deep])

    def _are_same(self, owned: list[dict[str, Any]]) -> bool:
        for number, name, held in self._names:
            value = owned[number].get(name)
            if value is not held and not _is_held(value, held):
                return False
        for value, parts in self._inside:
            now = _parts(value)
            if len(now) != len(parts) or not all(map(operator.is_, now, parts)):
                return False
        for record, parts in self._records:
            now = _parts(record() if type(record) is ref else record)
            if len(now) != len(parts) or not all(map(_is_held, now, parts)):
                return False
        return list(map(len, owned)) == self._lengths


def _parts(value: Any) -> list[Any]:
    if isinstance(value, list | set | tuple):
        return list(value)
    own = value if isinstance(value, dict) else _contents(value)
    return [*own, *own.values()]


def _contents(record: Any) -> dict[str, Any]:
    """What a record holds, by name."""
    own: dict[str, Any] | None = getattr(record, "__dict__", None)
    return {f.name: getattr(record, f.name, None) for f in fields(record)} if own is None else own


def _is_record(value: Any) -> bool:
    """Whether a value is a dataclass or a namespace: what is in it is looked at, as in a dict."""
    return isinstance(value, SimpleNamespace) or (is_dataclass(value) and not isinstance(value, type | nn.Module))


def _is_deep(value: Any) -> bool:
    """Whether a value may change and its parts still be the same objects."""
    if isinstance(value, list | dict | set | tuple) or _is_record(value):
        return any(isinstance(part, _CHANGING) or _is_record(part) or _is_deep(part) for part in _parts(value))
    return isinstance(value, Tensor | numpy.ndarray)


_CHANGING = (Tensor, numpy.ndarray, list, dict, set)


def _key(value: Any, depth: int = 16) -> Hashable:
    """Equal for equal values. ``depth``: how far it looks, lest it goes round in a circle of records."""
    if isinstance(value, _PLAIN):
        return type(value), value
    if depth == 0:
        return _Object(value)
    if isinstance(value, tuple | list):
        return type(value), tuple([_key(part, depth - 1) for part in value])
    if isinstance(value, dict):
        return dict, tuple([(_key(k, depth - 1), _key(v, depth - 1)) for k, v in value.items()])
    if isinstance(value, set):
        return set, frozenset([_key(part, depth - 1) for part in value])
    if isinstance(value, numpy.ndarray) and value.size <= LARGEST_ARRAY:
        return _Object(value), value.shape, value.dtype.str, value.tobytes()
    if _is_record(value):
        return _Object(value), _key(_contents(value), depth - 1)
    return _Object(value)


def _is_held(value: Any, held: Any) -> bool:
    return value is held or (type(held) is ref and value is held())


def _held(value: Any) -> Any:
    """A value to compare with later; what may itself hold the cell is not kept alive for that."""
    if isinstance(value, (*_PLAIN, Tensor, list, tuple, dict, set)):
        return value
    try:
        return ref(value)
    except TypeError:
        return value


def stamp(tensor: Tensor) -> Hashable:
    """Equal as long as a tensor is the same one with the same values."""
    return _Object(tensor)


class _Object:
    """One object, and one version of it if it is a tensor; after its end no other one is taken for it."""

    __slots__ = ("held", "number", "version")

    def __init__(self, value: Any) -> None:
        self.held, self.number = _held(value), id(value)
        # a tensor that has come to require grad is another one for a program, which would give it none
        self.version = (value._version, value.requires_grad) if isinstance(value, Tensor) else None

    def __hash__(self) -> int:
        return hash((self.number, self.version))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.version == other.version and self.held is other.held
