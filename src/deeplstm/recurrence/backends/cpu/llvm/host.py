"""What the host's processor can do, and how kernels are shaped for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import torch


@dataclass(frozen=True)
class Host:
    """A processor as kernels see it.

    Attributes:
        processor: what tells it from other ones: code that is compiled for one may not run on another.
        vector_bytes: bytes of a vector register.
        registers: how many of them there are.
    """

    processor: str
    vector_bytes: int
    registers: int

    @property
    def has_masks(self) -> bool:
        """Whether part of a vector is read and written as fast as all of it. AVX2 takes twenty times as long to write it."""
        return self.vector_bytes == 64

    @property
    def name(self) -> str:
        """LLVM's name for it."""
        return str(llvm().get_host_cpu_name())

    @property
    def features(self) -> str:
        """LLVM's list of what it can do."""
        return str(llvm().get_host_cpu_features().flatten())


@cache
def host() -> Host:
    """The machine that this runs on.

    ``DEEPLSTM_VECTOR_BYTES`` (16, 32 or 64) narrows its vectors, to test the narrower kernels.
    """
    processor, features = _of_linux() or _of_llvm()
    widest = 64 if "avx512f" in features else 32 if {"avx2", "fma"} <= features else 16
    asked = os.environ.get("DEEPLSTM_VECTOR_BYTES")
    if asked is not None and asked not in ("16", "32", "64"):
        raise ValueError(f"DEEPLSTM_VECTOR_BYTES={asked!r} is set, 16, 32 or 64 is expected: unset it or choose one.")
    vector = min(widest, int(asked)) if asked else widest
    has_32 = "avx512vl" in features or "x86-64" not in features
    return Host(processor, vector, 32 if has_32 else 16)


@cache
def llvm() -> Any:
    """LLVM, loaded when something has to be compiled: what the cache has runs without it."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def compiler() -> str:
    """What identifies LLVM: versions do not, one of llvmlite can be built with several of LLVM."""
    folder = Path(llvmlite.__file__).parent / "binding"
    sizes = [f"{file.name} {file.stat().st_size}" for file in sorted(folder.glob("*llvmlite.*"))]
    return f"{sizes or (llvm().llvm_version_info, llvm().get_process_triple())}"


_FEATURES = {"avx2": "avx2", "fma3": "fma", "avx512_f": "avx512f", "avx512_vl": "avx512vl"}
"""Those that shape kernels, by torch's names, as LLVM calls them."""

_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
"""Of Linux's description: what does not change from core to core, or from moment to moment."""


def _of_linux() -> tuple[str, frozenset[str]] | None:
    """An x86-64 processor by what Linux and torch say, who need not be loaded for it; None for any other.

    Torch has asked the processor that it runs on itself, which under an emulator is not the one that Linux tells of.
    """
    said = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if said.get("architecture") != "x86_64" or not _FEATURES.keys() <= said.keys():
        return None
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read(16 * 1024).partition("\n\n")[0]
    except OSError:
        return None
    lines = [line for line in first.splitlines() if line.partition("\t")[0].partition(":")[0].strip() in _FIELDS]
    if len(lines) != len(_FIELDS):
        return None
    able = sorted(f"{name} {value}" for name, value in said.items() if isinstance(value, bool))
    features = {_FEATURES[name] for name in _FEATURES if said[name]}
    return "\n".join([*lines, *able]), frozenset({"x86-64", *features})


def _of_llvm() -> tuple[str, frozenset[str]]:
    able = llvm().get_host_cpu_features()
    features = {name for name, has_it in able.items() if has_it}
    if llvm().get_process_triple().startswith("x86_64"):
        features.add("x86-64")
    return f"{llvm().get_host_cpu_name()} {able.flatten()}", frozenset(features)
