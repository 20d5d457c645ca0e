"""`deeplstm doctor` tells what a machine has, and goes on where something is missing."""

import re
import subprocess
import sys

import llvmlite
import pytest
import torch

from deeplstm.cli import doctor as command
from deeplstm.recurrence.backends import cpu, torch_fused
from deeplstm.recurrence.backends.cpu import peak
from deeplstm.recurrence.backends.cpu.llvm import cache
from deeplstm.recurrence.backends.cpu.llvm.host import host
from deeplstm.recurrence.dispatch import BACKENDS


def rows_of(out: str) -> dict[str, str]:
    """What is printed, by the name at the beginning of its line."""
    return dict(re.findall(r"^(\S+(?: \S+)*) {2,}(\S.*?) *$", out, re.MULTILINE))


def test_it_tells_what_there_is(deeplstm, monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPLSTM_BACKENDS")
    monkeypatch.setenv("DEEPLSTM_CACHE", str(tmp_path))
    monkeypatch.setenv("DEEPLSTM_CACHE_MB", "7")
    monkeypatch.setenv("COLUMNS", "200")
    cache.store(cache.key_of("a kernel"), bytes(2**20))
    status, out, _ = deeplstm("doctor")
    assert status == 0
    rows = rows_of(out)
    assert rows["torch"] == "runs here", "the last of two rows of this name"
    assert re.search(rf"^torch +{re.escape(torch.__version__)} *$", out, re.MULTILINE)
    assert rows["llvmlite"].startswith(f"{llvmlite.__version__}, LLVM ")
    assert rows["name"] == host().name
    assert rows["vectors"] == f"{host().vector_bytes * 8} bits, {host().registers} registers"
    assert rows["threads"] == f"{torch.get_num_threads()} (torch's)"
    order = re.findall(r"^(\S+) +runs here", out, re.MULTILINE)
    assert order == list(BACKENDS)
    assert rows["folder"] == str(tmp_path)
    assert int(rows["kernels"]) >= 1
    assert float(rows["size"].removesuffix(" MB")) >= 1
    assert rows["limit"] == "7.00 MB"
    assert re.fullmatch(r"[\d,]+ GFLOP/s", rows["1 thread"])


@pytest.fixture
def no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "fma_peak", lambda threads: 12345.6)


@pytest.mark.usefixtures("no_peak")
def test_reasons_where_something_does_not_run(deeplstm, monkeypatch):
    def broken(call):
        raise OSError("no such library")

    monkeypatch.setenv("DEEPLSTM_BACKENDS", "reference,cpu")
    monkeypatch.setattr(cpu, "why_not", lambda call: ["the processor is [too] old"])
    monkeypatch.setattr(torch_fused, "run", broken)
    monkeypatch.setenv("COLUMNS", "250")
    rows = rows_of(deeplstm("doctor").out)
    assert rows["cpu"].startswith("does not run here: backend 'cpu' cannot run LSTMCell: the processor is [too] old.")
    assert rows["torch"] == "does not run here: OSError: no such library"
    assert rows["reference"] == "runs here"
    assert rows["1 thread"] == "12,346 GFLOP/s"
    monkeypatch.undo()
    assert command._why_not("torch") == ""


@pytest.mark.usefixtures("no_peak")
def test_settings_that_are_none_are_told(deeplstm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "abacus")
    monkeypatch.setenv("DEEPLSTM_CACHE_MB", "much")
    status, out, _ = deeplstm("doctor")
    assert status == 0
    rows = rows_of(out)
    assert "abacus is no backend" in rows["auto"]
    assert "DEEPLSTM_CACHE_MB='much'" in rows["limit"]
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "reference")
    monkeypatch.setenv("DEEPLSTM_CACHE", "off")
    monkeypatch.delenv("DEEPLSTM_CACHE_MB")
    rows = rows_of(deeplstm("doctor").out)
    assert rows["cpu"] == "runs here where it is asked for: DEEPLSTM_BACKENDS leaves it out"
    assert rows["folder"] == "none, kernels are compiled anew in every process"


def test_without_llvmlite():
    code = "import sys; sys.modules['llvmlite'] = None; from deeplstm.cli import main; sys.exit(main(['doctor']))"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=120)
    rows = rows_of(out)
    assert rows["llvmlite"].startswith("missing: ")
    assert rows["cpu"].startswith("does not run here: ")
    assert rows["reference"] == "runs here"
    assert "not measured" in rows


def test_help_names_it(deeplstm):
    assert re.search(r"\bdoctor\b", deeplstm("--help").out)


def test_the_peak_is_that_of_chains_in_registers():
    chains = peak._chains(host())
    assert str(peak._emit(host())).count(" call ") == chains
    assert 12 <= chains < host().registers
    assert 0 < peak.fma_peak(1) < 1e5
