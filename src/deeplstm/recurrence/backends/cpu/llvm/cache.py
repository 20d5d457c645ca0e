"""Machine code kept in the user's cache folder, from one process to the next.

One file for each kernel, named by the hash of all that it was made from. What is read will be executed: only a whole file of
the current user's is taken, everything else counts as missing. Whatever the disk refuses, kernels are compiled as if there
was no cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import struct
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FORMAT = 1
"""Counts the changes of what a file holds."""

MAGIC = b"deeplstm kernel\n"
SUFFIX = ".kernel"
UNFINISHED = ".unfinished"
LIMIT_MB = 256.0
ABANDONED_SECONDS = 3600.0
"""Age from which an unfinished file is that of a process which has died."""

_HEADER = struct.Struct(f"<{len(MAGIC)}sI32s")  # magic, format, sha256 of key and machine code
_log = logging.getLogger(__name__)


class Usage(NamedTuple):
    """What the cache holds."""

    kernels: int
    size_bytes: int


def folder() -> Path | None:
    """Where kernels are kept, whether it exists yet or not; None where the cache is off or there is no home.

    ``DEEPLSTM_CACHE`` names another folder; empty or ``off`` switches the cache off.
    """
    asked = os.environ.get("DEEPLSTM_CACHE")
    if asked is not None:
        return None if asked in ("", "off") else Path(asked).absolute()
    try:
        return _system_folder() / "deeplstm" / "kernels"
    except RuntimeError:  # a user without a home
        return None


def _system_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"  # a relative one is to be ignored, says XDG


def limit_bytes() -> int:
    """How much is kept at most; ``DEEPLSTM_CACHE_MB``, 256 where it is not set."""
    asked = os.environ.get("DEEPLSTM_CACHE_MB")
    try:
        megabytes = LIMIT_MB if asked is None else float(asked)
        if not 0 <= megabytes < 1e12:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"DEEPLSTM_CACHE_MB={asked!r} is set, a number of megabytes from 0 is expected: unset it or give one."
        ) from None
    return int(megabytes * 2**20)


def key_of(*parts: object) -> str:
    """The name of a kernel that these were all that mattered for."""
    digest = hashlib.sha256()
    for part in (FORMAT, *parts):
        text = str(part).encode()
        digest.update(b"%d:" % len(text))  # so that no two lists of parts read the same
        digest.update(text)
    return digest.hexdigest()


def load(key: str) -> bytes | None:
    """Machine code that was stored under a key; None where there is none that can be trusted."""
    where = folder()
    if where is None:
        return None
    path = where / f"{key}{SUFFIX}"
    try:
        if not _is_own(where.stat()):
            _log.debug("%s belongs to somebody else: kernels are compiled anew", where)
            return None
        with path.open("rb") as file:
            if not _is_own(os.fstat(file.fileno())):
                _log.debug("%s may have been written by somebody else and is not used", path)
                return None
            content = file.read()
        code = _unpacked(key, content)
        if code is None:
            _log.debug("%s is damaged, or no kernel of this version, and is not used", path)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(path)  # used now: the last to go
        return code
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.debug("the cache of kernels cannot be read: %s", str(error))
        return None


def store(key: str, code: bytes) -> None:
    """Keep machine code under a key, and let the longest unused go where the cache becomes too large."""
    where = folder()
    if where is None:
        return
    limit = limit_bytes()
    if len(code) + _HEADER.size > limit:
        return
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_own(where.stat()):
            _log.debug("%s belongs to somebody else: kernels are not kept", where)
            return
        _write(where / f"{key}{SUFFIX}", _packed(key, code))
        _shrink(where, limit)
    except OSError as error:
        _log.debug("a kernel cannot be kept: %s", str(error))


def usage() -> Usage:
    """How many kernels are kept, and their size."""
    where = folder()
    try:
        sizes = [] if where is None else [size for _, size, _ in _files(where)]
    except OSError:
        sizes = []
    return Usage(len(sizes), sum(sizes))


def _packed(key: str, code: bytes) -> bytes:
    return _HEADER.pack(MAGIC, FORMAT, _digest(key, code)) + code


def _unpacked(key: str, content: bytes) -> bytes | None:
    if len(content) < _HEADER.size:
        return None
    magic, version, digest = _HEADER.unpack_from(content)
    code = content[_HEADER.size :]
    return code if (magic, version) == (MAGIC, FORMAT) and digest == _digest(key, code) else None


def _digest(key: str, code: bytes) -> bytes:
    """Of both, since a whole file under a wrong name would be a wrong kernel."""
    return hashlib.sha256(key.encode() + code).digest()


def _is_own(found: os.stat_result) -> bool:
    """Whether a file or folder can have been written by the current user alone, as far as its owner and mode say."""
    if not hasattr(os, "getuid"):
        return True  # Windows: the folder's own rights say so
    writable_by_others = stat.S_IWOTH if stat.S_ISDIR(found.st_mode) else stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.getuid() and not found.st_mode & writable_by_others


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever else writes it at the same time."""
    handle, name = tempfile.mkstemp(suffix=UNFINISHED, dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _shrink(where: Path, limit: int) -> None:
    files = sorted(_files(where))
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit:
            break
        with suppress(OSError):  # another process was faster
            os.unlink(path)
        total -= size
    for unfinished in where.glob(f"*{UNFINISHED}"):
        with suppress(OSError):
            if unfinished.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                unfinished.unlink()


def _files(where: Path) -> list[tuple[int, int, str]]:
    """When each kernel was last used (ns), its size in bytes and its path."""
    found = []
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                with suppress(FileNotFoundError):  # another process was faster
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
    return found
