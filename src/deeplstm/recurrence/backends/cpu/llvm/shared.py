"""Machine code that the kernels of all cells call: made once for a machine, found by what it is for.

It is most of what a cell's kernels would be to compile, and nothing in it is a cell's own.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

from .host import Host
from .kernels import Loaded, machine_code
from .libraries import Library


class Shared(Loaded):
    """A library in memory. Whoever calls it keeps this alive.

    Attributes:
        table: where its functions' addresses lie.
    """

    def __init__(self, engine: Any, names: list[str]) -> None:
        super().__init__(engine)
        self._addresses = (ctypes.c_int64 * len(names))(*map(engine.get_function_address, names))
        self.table = ctypes.addressof(self._addresses)


_known: WeakValueDictionary[str, Shared] = WeakValueDictionary()


@cache
def shared(library: Library, host: Host) -> Shared:
    """Compiled when the first cell asks for it, in use as long as the process lives."""
    write, made_of = lambda: str(library.emit(host)), lambda engine: Shared(engine, library.names(host))
    return machine_code(repr(library), write, host, _known, made_of, optimise=False)
