"""What a cell's equations depend on beside its tensors: numbers, flags, names, functions, loose tensors.

A program holds their values, so each call must know whether one has changed. Nearly none does: what cannot change in itself
is compared by identity, and lists, dicts, sets and tensors are looked into.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable
from typing import Any
from weakref import ref

from torch import Tensor, nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Attributes:
    """The attributes of a cell and its modules that are no parameters, buffers or modules."""

    def __init__(self, cell: nn.Module) -> None:
        self._modules = [
            ref(module) for module in cell.modules()
        ]  # which may hold the cell: it is not kept alive for this
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
        self._deep = [value for _, _, value in given if _is_deep(value)]
        self._fixed = (*self._lengths, *(_key(value) for _, _, value in given))

    def _owned(self) -> list[dict[str, Any]]:
        """The attributes of every module."""
        return [vars(module()) for module in self._modules]

    def read(self) -> Hashable:
        """Equal as long as all of them are."""
        if not self._are_same():
            self._note()
        return (self._fixed, tuple([_key(value) for value in self._deep])) if self._deep else self._fixed

    def _are_same(self) -> bool:
        owned = self._owned()
        for number, name, held in self._names:
            value = owned[number].get(name)
            if value is not held and (type(held) is not ref or value is not held()):
                return False
        for value, parts in self._inside:
            now = _parts(value)
            if len(now) != len(parts) or not all(map(operator.is_, now, parts)):
                return False
        return list(map(len, owned)) == self._lengths


def _parts(value: Any) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else list(value)


def _is_deep(value: Any) -> bool:
    """Whether a value may change and its parts still be the same objects."""
    if isinstance(value, list | dict | set | tuple):
        return any(isinstance(part, Tensor | list | dict | set) or _is_deep(part) for part in _parts(value))
    return isinstance(value, Tensor)


def _key(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, tuple | list):
        return type(value), tuple([_key(part) for part in value])
    if isinstance(value, dict):
        return dict, tuple([(_key(k), _key(v)) for k, v in value.items()])
    if isinstance(value, set):
        return set, frozenset([_key(part) for part in value])
    return _Object(value)


def _held(value: Any) -> Any:
    """A value to compare with later; what may itself hold the cell is not kept alive for that."""
    if isinstance(value, (*_PLAIN, Tensor, list, tuple, dict, set)):
        return value
    try:
        return ref(value)
    except TypeError:
        return value


class _Object:
    """One object, and one version of it if it is a tensor; after its end no other one is taken for it."""

    __slots__ = ("held", "number", "version")

    def __init__(self, value: Any) -> None:
        self.held, self.number = _held(value), id(value)
        self.version = value._version if isinstance(value, Tensor) else 0

    def __hash__(self) -> int:
        return hash((self.number, self.version))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.version == other.version and self.held is other.held
