"""What the host's processor can do, and how kernels are shaped for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm


@dataclass(frozen=True)
class Host:
    """A processor as kernels see it.

    Attributes:
        name: LLVM's name for it.
        features: LLVM's list of what it can do.
        vector_bytes: bytes of a vector register.
        registers: how many of them there are.
    """

    name: str
    features: str
    vector_bytes: int
    registers: int

    @property
    def has_masks(self) -> bool:
        """Whether part of a vector is read and written as fast as all of it. AVX2 takes twenty times as long to write it."""
        return self.vector_bytes == 64


@cache
def host() -> Host:
    """The machine that this runs on.

    ``DEEPLSTM_VECTOR_BYTES`` (16, 32 or 64) narrows its vectors, to test the narrower kernels.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    widest = 64 if features.get("avx512f") else 32 if features.get("avx2") and features.get("fma") else 16
    asked = os.environ.get("DEEPLSTM_VECTOR_BYTES")
    if asked is not None and asked not in ("16", "32", "64"):
        raise ValueError(f"DEEPLSTM_VECTOR_BYTES={asked!r} is set, 16, 32 or 64 is expected: unset it or choose one.")
    vector = min(widest, int(asked)) if asked else widest
    has_32 = features.get("avx512vl") or not llvm.get_process_triple().startswith("x86_64")
    return Host(llvm.get_host_cpu_name(), features.flatten(), vector, 32 if has_32 else 16)
