"""Machine code into memory without LLVM: the object files of this package's kernels, on x86-64 under ELF.

LLVM's own loader does the same for any file and any system, but to load LLVM and what calls it from Python takes longer than
all else that the first call of a cell does whose kernels are in the cache. Kernels call nothing by name and refer only to
their own constants, so that little is left to do: sections into pages, and how far it is to the constants filled in.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from functools import cache
from typing import Any, NamedTuple

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # of the file
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_IS_X86_64 = (b"\x7fELF\2\1", 1, 62)  # 64 bits, little end first; to be linked; the processor
_SYMBOLS, _RELOCATIONS, _RELOCATIONS_IN_PLACE = 2, 4, 9  # types of sections
_WRITABLE, _IN_MEMORY, _THREADS = 1, 2, 0x400  # flags of sections
_NEAR = (2, 4)  # R_X86_64_PC32 and _PLT32, the relocations known here: how far something is from where it is used
_NOWHERE, _RESERVED = 0, 0xFF00  # sections of symbols that lie in no section


class _Section(NamedTuple):
    """A part of the file, as its table of parts has it."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    length: int
    link: int
    of: int
    alignment: int
    entry: int


class Image:
    """An object file's machine code, ready to run as long as this lives."""

    def __init__(self, pages: mmap.mmap, addresses: dict[str, int]) -> None:
        self._pages, self._addresses = pages, addresses

    def get_function_address(self, name: str) -> int:
        """As LLVM's engines have it."""
        return self._addresses[name]


def is_known() -> bool:
    """Whether object files are of the kind that is known here."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")


def image(code: bytes) -> Image | None:
    """An object file in memory; None where it takes more than is known here: LLVM is to load it."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return None
    start, kind, machine, _, _, _, at, _, _, _, _, size, count, _ = _HEADER.unpack_from(code)
    if (start[:6], kind, machine) != _IS_X86_64:
        return None
    sections = [_Section(*_SECTION.unpack_from(code, at + n * size)) for n in range(count)]
    places: dict[int, int] = {}  # where each section lies in memory, from its start
    end = 0
    for n, section in enumerate(sections):
        if section.flags & _IN_MEMORY and section.length:
            if section.flags & (_WRITABLE | _THREADS):
                return None
            alignment = max(1, section.alignment)
            places[n] = -(-end // alignment) * alignment
            end = places[n] + section.length
    pages = mmap.mmap(-1, max(1, end), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for n, place in places.items():
        pages[place : place + sections[n].length] = _content(code, sections[n])
    symbols = _symbols(code, sections, places)
    for section in sections:
        if section.of not in places or section.kind not in (_RELOCATIONS, _RELOCATIONS_IN_PLACE):
            continue
        if section.kind == _RELOCATIONS_IN_PLACE:
            return None
        for where, info, addend in _RELOCATION.iter_unpack(_content(code, section)):
            _, value = symbols[info >> 32]
            if info & 0xFFFFFFFF not in _NEAR or value is None:
                return None
            at = places[section.of] + where
            struct.pack_into("<i", pages, at, value + addend - at)
    if _protect()(base, max(1, end), mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    return Image(pages, {name: base + value for name, value in symbols if name and value is not None})


def _content(code: bytes, section: _Section) -> bytes:
    return code[section.offset : section.offset + section.length]


def _symbols(code: bytes, sections: list[_Section], places: dict[int, int]) -> list[tuple[str, int | None]]:
    """Names, and where each lies in memory; None for what lies elsewhere."""
    found: list[tuple[str, int | None]] = []
    for table in sections:
        if table.kind != _SYMBOLS:
            continue
        names = sections[table.link].offset
        for name, _, _, section, value, _ in _SYMBOL.iter_unpack(_content(code, table)):
            label = code[names + name : code.index(b"\0", names + name)].decode()
            place = places.get(section) if _NOWHERE < section < _RESERVED else None
            found.append((label, None if place is None else place + value))
    return found


@cache
def _protect() -> Any:
    """The system's ``mprotect``: pages are written first and run after, never both."""
    function = ctypes.CDLL(None).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
