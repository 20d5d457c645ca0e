"""Token numbers in a file: written once, then read window by window without ever filling the memory."""

import json
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from deeplstm.errors import InputError
from deeplstm.tasks.text.vocabulary import Vocabulary
from deeplstm.training.files import write_atomic

_FORMAT = 1
_FIELDS = {"format": int, "dtype": str, "tokens": int, "characters": int, "symbols": int}
_DTYPES = ("uint8", "uint16", "uint32")


class Ids:
    """Token numbers in a memory-mapped file, read-only: `len(ids)`, `ids[a:b]` (a copy) and `ids[i]`.

    The system counts every page that was read as the process's own until it runs out of memory. Handing the
    pages back now and then keeps a whole epoch over any file within a fixed size; they stay in the system's
    cache.
    """

    release_bytes = 1 << 26
    read_around_bytes = 1 << 17  # what one look at a page makes resident, at most

    def __init__(self, path: Path, dtype: np.dtype[Any], tokens: int) -> None:
        self.dtype = dtype
        self._touched = 0
        self._map: mmap.mmap | None = None
        self._all: NDArray[Any] = np.empty(0, dtype)
        if tokens:  # an empty file cannot be mapped
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), tokens * dtype.itemsize, access=mmap.ACCESS_READ)
            self._all = np.frombuffer(self._map, dtype)

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, index: slice) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: int) -> int: ...
    def __getitem__(self, index: slice | int) -> NDArray[Any] | int:
        if not isinstance(index, slice):
            return int(self._all[index])
        ids = self._all[index].copy()
        self._touched += ids.nbytes + self.read_around_bytes
        if self._touched > self.release_bytes:
            self._release()
        return ids

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _release(self) -> None:
        self._touched = 0
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):  # Windows trims by itself
            self._map.madvise(mmap.MADV_DONTNEED)


Tokens = Ids | NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """A file of token numbers, little-endian and nothing else, and what is known about it."""

    path: Path
    dtype: np.dtype[Any]
    tokens: int
    characters: int
    """Length of the text that the tokens stand for; see `Vocabulary.characters`."""
    symbols: int
    """Size of the vocabulary that the numbers belong to."""

    def open(self) -> Ids:
        return Ids(self.path, self.dtype, self.tokens)

    def save(self) -> None:
        """Write what is known beside the file: train.json for train.bin."""
        content = {
            "format": _FORMAT,
            "dtype": self.dtype.name,
            "tokens": self.tokens,
            "characters": self.characters,
            "symbols": self.symbols,
        }
        write_atomic(self.path.with_suffix(".json"), (json.dumps(content) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: Vocabulary | None = None) -> "Encoded":
        """Look at a file of token numbers.

        Args:
            path: the file of numbers, with its JSON beside it.
            vocabulary: what the numbers should belong to.

        Raises: InputError that names the file if it or its JSON is missing, cut short, or something else.
        """
        path = Path(path)
        about = path.with_suffix(".json")
        try:
            content = json.loads(about.read_bytes())
            size = path.stat().st_size
        except OSError as error:
            missing = error.filename or path
            raise InputError(f"{missing} cannot be read ({error.strerror}): {_ADVICE}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{about} is damaged ({error}): {_ADVICE}") from error
        complaint = _complaint(content)
        if complaint:
            raise InputError(f"{about} does not describe encoded text ({complaint}): {_ADVICE}")
        encoded = cls(
            path,
            np.dtype(content["dtype"]).newbyteorder("<"),
            content["tokens"],
            content["characters"],
            content["symbols"],
        )
        expected = encoded.tokens * encoded.dtype.itemsize
        if size != expected:
            raise InputError(f"{path} has {size:,} bytes, but {about.name} speaks of {expected:,}: {_ADVICE}")
        if vocabulary is not None and (encoded.symbols, encoded.dtype) != (len(vocabulary), vocabulary.dtype):
            raise InputError(
                f"{path} has {encoded.symbols} symbols, but the vocabulary has {len(vocabulary)}: {_ADVICE}"
            )
        return encoded


_ADVICE = "encode the text again, or restore it from a copy of the run."


def _complaint(content: Any) -> str | None:
    if not isinstance(content, dict):
        return "no table"
    wrong = [name for name, kind in _FIELDS.items() if type(content.get(name)) is not kind]
    if wrong:
        return f"missing or wrong: {', '.join(wrong)}"
    if content["format"] != _FORMAT:
        return f"format {content['format']}, this version reads format {_FORMAT}"
    if content["dtype"] not in _DTYPES:
        return f"dtype {content['dtype']!r}, one of {', '.join(_DTYPES)} is expected"
    negative = [name for name in ("tokens", "characters", "symbols") if content[name] < 0]
    return f"below zero: {', '.join(negative)}" if negative else None


class Writer:
    """Writes a file of token numbers piece by piece, under a temporary name until it is complete.

    with Writer(path, vocabulary) as writer:
        writer.append(ids)
    writer.encoded

    Where the block fails, nothing is left behind.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self.path = Path(path)
        self.vocabulary = vocabulary
        self.tokens = self.characters = 0
        self.last: int | None = None

    def __enter__(self) -> "Writer":
        self._file = tempfile.NamedTemporaryFile(
            dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".tmp", delete=False
        )
        return self

    def append(self, ids: NDArray[Any]) -> None:
        if len(ids):
            self._file.write(ids.astype(self.vocabulary.dtype, copy=False).tobytes())
            self.tokens += len(ids)
            self.characters += self.vocabulary.characters(ids, self.last)
            self.last = int(ids[-1])

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        temporary = Path(self._file.name)
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None:
                os.replace(temporary, self.path)
                self.encoded.save()
        finally:
            temporary.unlink(missing_ok=True)

    @property
    def encoded(self) -> Encoded:
        return Encoded(self.path, self.vocabulary.dtype, self.tokens, self.characters, len(self.vocabulary))
