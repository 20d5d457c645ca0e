"""LLVM IR into machine code that Python can call."""

from __future__ import annotations

import ctypes
import re
from threading import Lock
from typing import Any

import llvmlite.binding as llvm

from .emit import KERNEL, PREPARE
from .host import Host

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_lock = Lock()  # LLVM's compiler objects are not for two threads at once


class Kernel:
    """Machine code: ``call(begin, end, context)`` runs the rows of threads begin to end, without the interpreter lock;
    ``prepare`` packs the weights before.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine  # keeps the code in memory
        self.address: int = engine.get_function_address(KERNEL)
        self.call = _FUNCTION(self.address)
        self.prepare = _FUNCTION(engine.get_function_address(PREPARE))


def compile_ir(text: str, host: Host) -> Kernel:
    """Optimise and compile a module."""
    with _lock:
        # a context of its own, since an engine may be let go while another thread compiles
        module = llvm.parse_assembly(_with_attributes(text, host), llvm.create_context())
        module.verify()
        machine = _machine(host)
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        return Kernel(engine)


def assembly(text: str, host: Host) -> str:
    """What a module is in the processor's language, to read."""
    with _lock:
        module = llvm.parse_assembly(_with_attributes(text, host), llvm.create_context())
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        passes = llvm.create_pass_builder(_machine(host), options)
        passes.getModulePassManager().run(module, passes)
        return str(_machine(host).emit_assembly(module))


def _machine(host: Host) -> Any:
    """A new one each time: the engine that is made with it owns it."""
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=host.name, features=host.features, opt=3, jit=True)


def _with_attributes(text: str, host: Host) -> str:
    """Every function may use the whole width of a vector; LLVM takes half of it otherwise. llvmlite cannot say so."""
    bits = host.vector_bytes * 8
    text = re.sub(r"^(define .*\))(.*)$", r"\1 #0\2", text, flags=re.MULTILINE)
    return f'{text}\nattributes #0 = {{ nounwind "min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}" }}\n'
