"""LLVM IR into machine code that Python can call."""

from __future__ import annotations

import ctypes
import hashlib
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import llvmlite

from . import cache
from .host import Host, compiler, llvm
from .image import image, is_known
from .layout import KERNEL, PREPARE

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
T = TypeVar("T")

_lock = Lock()  # LLVM's compiler objects are not for two threads at once
_kernels: WeakValueDictionary[str, Kernel] = WeakValueDictionary()  # those in use: equal layers share one
_ended: list[Any] = []

_TUNING = {"speed_level": 2, "loop_vectorization": False, "slp_vectorization": False, "loop_unrolling": False}


class Function:
    """``call(begin, end, context)`` does the parts begin to end of some work, without the interpreter lock."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.call = _FUNCTION(address)


class Loaded:
    """Machine code in memory, as long as this lives.

    Its end may come at any time, also in the middle of a compilation in the same thread, where LLVM could not bear to free
    anything: so what has ended is freed before the next compilation.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __del__(self, _ended: list[Any] = _ended) -> None:  # at the end of the process this module's names are gone
        _ended.append(self.engine)


class Kernel(Loaded):
    """``run`` runs the rows of each thread; ``prepare`` packs the weights before."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.run = Function(engine.get_function_address(KERNEL))
        self.prepare = Function(engine.get_function_address(PREPARE))


def compile_ir(text: str, host: Host) -> Kernel:
    """Optimise and compile a module, or take what an earlier call, or an earlier process, made of it."""
    return compiled(text, lambda: text, host)


def compiled(identity: str, emit: Callable[[], str], host: Host) -> Kernel:
    """The kernel that goes by a name, from what ``emit`` writes; see `machine_code`."""
    return machine_code(identity, emit, host, _kernels, Kernel)


def machine_code(
    identity: str,
    emit: Callable[[], str],
    host: Host,
    known: WeakValueDictionary[str, T],
    made_of: Callable[[Any], T],
    *,
    optimise: bool = True,
) -> T:
    """What is made of the engine that goes by a name: in use already, from the cache, or compiled from what ``emit`` writes.

    Args:
        identity: says everything that the module depends on, but for this package's own code and the host.
        optimise: whether LLVM rewrites it before it chooses instructions. What is written as it shall run compiles in half the
            time without.
    """
    key = cache.key_of(
        sys.modules["deeplstm"].__version__,
        _sources(),
        llvmlite.__version__,
        compiler(),
        host.processor,
        host.vector_bytes,
        host.registers,
        _TUNING,
        identity,
    )
    with _lock:
        _ended.clear()
        found = known.get(key)
        if found is None:
            code = cache.load(key)
            if code is None:
                code = _object_code(_with_attributes(emit(), host), host, optimise)
                cache.store(key, code)
            found = known[key] = made_of(_loaded(code, host))
        return found


@lru_cache(1)
def _sources() -> str:
    """What identifies the code that makes kernels: a version alone stays while it is worked on."""
    here = Path(__file__).parent
    folders = (here, here.parent, here.parents[2] / "program")
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def assembly(text: str, host: Host, *, optimise: bool = True) -> str:
    """What a module is in the processor's language, to read."""
    with _lock:
        machine = _machine(host)
        return str(machine.emit_assembly(_module(_with_attributes(text, host), machine, optimise)))


def _object_code(text: str, host: Host, optimise: bool) -> bytes:
    machine = _machine(host)
    return bytes(machine.emit_object(_module(text, machine, optimise)))


def _module(text: str, machine: Any, optimise: bool) -> Any:
    # a context of its own, since an engine may be let go while another thread compiles
    module = llvm().parse_assembly(text, llvm().create_context())
    module.verify()
    if not optimise:
        return module
    options = llvm().create_pipeline_tuning_options()
    for name, value in _TUNING.items():
        setattr(options, name, value)
    passes = llvm().create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


def _loaded(code: bytes, host: Host) -> Any:
    """Machine code in memory, where it can run: by itself, or in an engine of LLVM's beside a module of nothing."""
    return image(code) or _engine(code, host)


def _engine(code: bytes, host: Host) -> Any:
    engine = llvm().create_mcjit_compiler(llvm().parse_assembly("", llvm().create_context()), _machine(host))
    engine.add_object_file(llvm().ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _machine(host: Host) -> Any:
    """A new one each time: the engine that is made with it owns it."""
    target = llvm().Target.from_default_triple()
    near = {}
    if (
        is_known()
    ):  # code and constants lie side by side: a constant is an operand, and takes no register for its address
        near = {"reloc": "pic", "codemodel": "small"}
    return target.create_target_machine(cpu=host.name, features=host.features, opt=3, jit=True, **near)


def _with_attributes(text: str, host: Host) -> str:
    """Every function may use the whole width of a vector; LLVM takes half of it otherwise. llvmlite cannot say so."""
    bits = host.vector_bytes * 8
    text = re.sub(r"^(define .*\))(.*)$", r"\1 #0\2", text, flags=re.MULTILINE)
    return f'{text}\nattributes #0 = {{ nounwind "min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}" }}\n'
