"""The cache of kernels: what is taken from it, what never is, and that no disk can stop a kernel."""

import ctypes
import dataclasses
import gc
import logging
import os
import stat
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import llvmlite
import pytest

import deeplstm
from deeplstm.recurrence.backends.cpu.llvm import cache, kernels
from deeplstm.recurrence.backends.cpu.llvm.host import host

ADDS = """
define void @run(i64 %begin, i64 %end, ptr %context) {{
  %old = load i64, ptr %context
  %new = add i64 %old, {number}
  store i64 %new, ptr %context
  ret void
}}
define void @prepare(i64 %begin, i64 %end, ptr %context) {{
  ret void
}}
"""
"""A kernel that adds a number to what its context holds."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "cache"
    monkeypatch.setenv("DEEPLSTM_CACHE", str(where))
    return where


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What LLVM has compiled."""
    texts: list[str] = []
    compile_it = kernels._object_code

    def counting(text, host, optimise):
        texts.append(text)
        return compile_it(text, host, optimise)

    monkeypatch.setattr(kernels, "_object_code", counting)
    return texts


def added(number: int = 1) -> int:
    """Make the kernel that adds a number, let it add to 0, and forget it."""
    kernel = kernels.compile_ir(ADDS.format(number=number), host())
    context = ctypes.c_int64(0)
    kernel.run.call(0, 1, ctypes.addressof(context))
    forgotten = weakref.ref(kernel)
    del kernel
    gc.collect()
    assert forgotten() is None, "a kernel that nobody uses is let go"
    return context.value


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_second_time_nothing_is_compiled(folder, compiled):
    assert [added(), added(), added(2)] == [1, 1, 2]
    assert len(compiled) == 2
    assert cache.usage() == cache.Usage(2, sum(path.stat().st_size for path in folder.iterdir()))


def test_equal_kernels_in_use_are_one(compiled):
    one, other = (kernels.compile_ir(ADDS.format(number=1), host()) for _ in range(2))
    assert one is other
    assert len(compiled) == 1


SCRIPT = """
import torch
from deeplstm import LSTMCell, scan
from deeplstm.recurrence.backends.cpu.llvm import kernels

count, compile_it = 0, kernels._object_code
def counting(text, host, optimise):
    global count
    count += 1
    return compile_it(text, host, optimise)
kernels._object_code = counting

torch.manual_seed(0)
torch.set_num_threads(1)
cell, x = LSTMCell(3, 4), torch.randn(4, 3, 3, requires_grad=True)  # a vector of columns, however wide vectors are
y, _ = scan(cell, None, x, (torch.zeros(3, 4), torch.zeros(3, 4)), noise={}, backend="cpu")
y.square().sum().backward()
print(count, *(t.detach().numpy().tobytes().hex() for t in (y, x.grad, cell.weight_hh.grad)))
"""


def start(hash_seed: int) -> subprocess.Popen:
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen) -> tuple[int, list[str]]:
    """How many kernels a process has compiled, and its results."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    count, *results = out.split()
    return int(count), results


def test_processes_share_kernels(folder):
    together = [start(1), start(2)]  # both may find nothing, and write the same files
    (first, results), (second, others) = map(said, together)
    assert results == others
    files = sorted(path.name for path in folder.iterdir())
    assert max(first, second) <= len(files) <= first + second
    assert len(files) >= 8, "four parts, products (of one shape or two), packing, sums over rows"
    assert all(name.endswith(".kernel") for name in files)
    later = said(start(3))
    assert later == (0, results), "the text of a kernel is the same in every process"
    assert sorted(path.name for path in folder.iterdir()) == files


def flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGE = {
    "empty": lambda content: b"",
    "within the header": lambda content: content[:20],
    "truncated": lambda content: content[:-7],
    "longer": lambda content: content + b"\0",
    "one bit": flip_last,
    "foreign": lambda content: b"#!/bin/sh\n" * 100,
    "another format": lambda content: cache._HEADER.pack(cache.MAGIC, cache.FORMAT + 1, content[20:52]) + content[52:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_whole_is_compiled_anew_and_replaced(folder, compiled, damage):
    added()
    path = only(folder)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert added() == 1
    assert len(compiled) == 2
    assert only(folder).read_bytes() == content
    added()
    assert len(compiled) == 2


def test_a_whole_file_under_another_name_is_not_taken(folder, compiled):
    added(1)
    one = only(folder)
    added(2)
    (two,) = set(folder.iterdir()) - {one}
    one.write_bytes(two.read_bytes())
    assert added(1) == 1
    assert len(compiled) == 3


@pytest.mark.parametrize("what", ["deeplstm", "llvmlite", "passes", "format", "processor"])
def test_other_versions_have_other_kernels(folder, compiled, monkeypatch, what):
    added()
    if what == "deeplstm":
        monkeypatch.setattr(deeplstm, "__version__", "0.0.0")
    elif what == "llvmlite":
        monkeypatch.setattr(llvmlite, "__version__", "0.0.0")
    elif what == "passes":
        monkeypatch.setitem(kernels._TUNING, "speed_level", 1)
    elif what == "format":
        monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    else:
        narrow = dataclasses.replace(host(), vector_bytes=8)
        monkeypatch.setattr(sys.modules[__name__], "host", lambda: narrow)
    assert added() == 1
    assert len(compiled) == 2
    assert len(list(folder.iterdir())) == 2


def test_the_longest_unused_go_first(folder, monkeypatch):
    size = 600
    monkeypatch.setenv("DEEPLSTM_CACHE_MB", str(3.5 * size / 2**20))
    keys = [cache.key_of(n) for n in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.store(key, bytes(size - cache._HEADER.size))
        os.utime(folder / f"{key}.kernel", (1000 + age, 1000 + age))
    assert cache.load(keys[0]) is not None  # used now
    cache.store(keys[3], bytes(size - cache._HEADER.size))
    assert [key for key in keys if (folder / f"{key}.kernel").exists()] == [keys[0], keys[2], keys[3]]
    monkeypatch.setenv("DEEPLSTM_CACHE_MB", "0")
    cache.store(cache.key_of(4), b"code")
    assert not (folder / f"{cache.key_of(4)}.kernel").exists()


@pytest.mark.parametrize("given", ["much", "-1", "nan"])
def test_a_limit_that_is_none(monkeypatch, given):
    monkeypatch.setenv("DEEPLSTM_CACHE_MB", given)
    with pytest.raises(ValueError, match=f"DEEPLSTM_CACHE_MB='{given}' is set, a number of megabytes"):
        cache.limit_bytes()


def test_what_a_dead_process_left_goes_and_what_is_being_written_stays(folder):
    cache.store(cache.key_of(0), b"code")
    for name, seconds in (("old.unfinished", 1000), ("new.unfinished", None)):
        (folder / name).write_bytes(b"half")
        if seconds is not None:
            os.utime(folder / name, (seconds, seconds))
    cache.store(cache.key_of(1), b"code")
    assert {path.name for path in folder.glob("*.unfinished")} == {"new.unfinished"}


@pytest.mark.parametrize("value", ["", "off"])
def test_it_can_be_switched_off(monkeypatch, compiled, tmp_path, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPLSTM_CACHE", value)
    assert [added(), added()] == [1, 1]
    assert len(compiled) == 2
    assert cache.folder() is None
    assert cache.usage() == cache.Usage(0, 0)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_changes_nothing(folder, compiled, caplog):
    folder.write_text("a file in the place of the folder")
    with caplog.at_level(logging.DEBUG, logger=cache.__name__):
        assert [added(), added()] == [1, 1]
    assert len(compiled) == 2
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no modes")
def test_a_folder_that_can_only_be_read(folder, compiled, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    added()
    folder.chmod(0o500)
    monkeypatch.setattr(os, "utime", refuse)  # root may write everywhere
    monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)
    try:
        assert [added(), added(2)] == [1, 2]
    finally:
        folder.chmod(0o700)
    assert len(compiled) == 2
    assert len(list(folder.iterdir())) == 1


def test_a_full_disk_leaves_nothing_behind(folder, compiled, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    assert added() == 1
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no modes")
def test_code_is_taken_from_its_owner_alone(folder, compiled, monkeypatch):
    added()
    path = only(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    assert added() == 1
    assert len(compiled) == 2, "others may have written that file"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folder.chmod(0o777)
    added()
    assert len(compiled) == 3, "others may have written into that folder"
    folder.chmod(0o700)
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    added(2)
    assert len(compiled) == 4
    assert only(folder) == path, "nothing is written into another user's folder"


def test_threads_compile_a_kernel_once(compiled):
    found = []

    def work():
        found.append(kernels.compile_ir(ADDS.format(number=4), host()))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(compiled) == 1


def test_where_it_is_without_being_told(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPLSTM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "deeplstm" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache" / "deeplstm" / "kernels"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == tmp_path / "Library" / "Caches" / "deeplstm" / "kernels"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert cache.folder() == tmp_path / "Local" / "deeplstm" / "kernels"
