"""Products in registers as machine code: made once for a machine, found by their shape, and called by every cell's kernels.

They are most of what a cell's kernels would be to compile, and nothing in them is a cell's own.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

from .host import Host
from .kernels import Loaded, machine_code
from .products_ir import Shape, emit, most_rows, name_of


class Products(Loaded):
    """The products of a shape. Whoever calls them keeps this alive.

    Attributes:
        table: where their addresses lie: of the product of a batch's only row, then of those of 1, 2, ... rows.
    """

    def __init__(self, engine: Any, count: int) -> None:
        super().__init__(engine)
        addresses = (engine.get_function_address(name_of(rows)) for rows in range(count))
        self._table = (ctypes.c_int64 * count)(*addresses)
        self.table = ctypes.addressof(self._table)


_known: WeakValueDictionary[str, Products] = WeakValueDictionary()


@cache
def products(shape: Shape, host: Host) -> Products:
    """The products of a shape: compiled when the first cell asks for them, in use as long as the process lives."""
    count = most_rows(shape.vectors, host) + 1
    identity, text = f"products {shape}", lambda: str(emit(shape, host))
    return machine_code(identity, text, host, _known, lambda engine: Products(engine, count), optimise=False)
