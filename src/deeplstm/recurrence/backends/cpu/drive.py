"""What calls kernels one after another, and what copies between them. Both are in memory as long as the process lives."""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakValueDictionary

from .llvm.host import host
from .llvm.kernels import Function, Loaded, machine_code
from .llvm.layout import COPY, KERNEL


class Drive(Loaded):
    """The functions of `llvm/drive.py`."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.run, self.copy = (Function(engine.get_function_address(name)) for name in (KERNEL, COPY))


_known: WeakValueDictionary[str, Drive] = WeakValueDictionary()


def _written() -> str:
    from .llvm.drive import emit  # not loaded where the cache has it

    return str(emit())


@cache
def drive() -> Drive:
    """They are made with the first plan."""
    return machine_code("drive", _written, host(), _known, Drive, optimise=False)
