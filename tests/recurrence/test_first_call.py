"""The first call of a process whose machine code is in the cache loads nothing that only capturing or compiling anew takes."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch, deeplstm
cells = deeplstm.LSTMCell(5, 9), deeplstm.LSTMCell(5, 9, norm=True), deeplstm.GRUCell(5, 9)
layers = [deeplstm.Recurrent(cell) for cell in cells]
with deeplstm.backend("cpu"):
    for layer in layers:
        layer(torch.randn(4, 3, 5, requires_grad=True))[0].sum().backward()
print(*sys.modules)
"""

COMPILER = "torch._dynamo", "torch._inductor", "sympy"
"""Of torch: a second or more."""

LLVM = "llvmlite.binding", "llvmlite.ir"
"""Not needed by code that is there already, where `image.py` knows its format."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """The modules that a process with an empty cache has, and one with what that left behind."""
    environment = os.environ | {"DEEPLSTM_CACHE": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-c", SCRIPT]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    return [set(done.stdout.split()) for done in runs]


def test_capturing_loads_no_compiler_of_torch(loaded):
    for modules in loaded:
        assert not modules.intersection(COMPILER)


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="LLVM loads kernels elsewhere")
def test_llvm_is_not_loaded_for_what_is_in_the_cache(loaded):
    first, second = loaded
    assert first.issuperset(LLVM)
    assert not second.intersection(LLVM)
    writing = {name for name in first - second if name.startswith("deeplstm.")}
    assert "deeplstm.recurrence.backends.cpu.llvm.emit" in writing
    assert second <= first
