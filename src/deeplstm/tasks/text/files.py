"""Reading text files piece by piece, and saying in one line why one cannot be read."""

import codecs
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deeplstm.errors import InputError
from deeplstm.tasks.files import unreadable

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

PIECE = 1 << 18
"""Bytes read at a time: what NumPy makes of them stays in the processor's cache."""


def read_bytes(file: Path, progress: Progress | None = None) -> Iterator[bytes]:
    """The file's bytes, piece by piece; `progress` hears of the bytes of this file."""
    done = 0
    try:
        total = file.stat().st_size
        with open(file, "rb") as stream:
            while piece := stream.read(PIECE):
                yield piece
                done += len(piece)
                if progress:
                    progress(done, total)
    except OSError as error:
        raise InputError(unreadable(file, error)) from error


def read_text(file: Path, progress: Progress | None = None) -> Iterator[str]:
    """The file's text, piece by piece; line ends stay what they are and no character is cut in two.

    Raises: InputError that names the file and the byte where it stops being text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    done = 0
    for piece in read_bytes(file, progress):
        if 0 in piece:
            raise InputError(
                f"{file} is binary (a NUL at byte {done + piece.index(0):,}), but text is expected: "
                "give a text file; only a network trained with level=byte reads others."
            )
        yield _decoded(file, decoder, piece, done)
        done += len(piece)
    yield _decoded(file, decoder, b"", done)


def progress_of_parts(progress: Progress | None, sizes: Sequence[int]) -> list[Progress | None]:
    """A progress for each of several parts, which together make up the one given."""

    def of_part(progress: Progress, before: int) -> Progress:
        return lambda done, _: progress(before + done, sum(sizes))

    return [progress and of_part(progress, sum(sizes[:n])) for n in range(len(sizes))]


def _decoded(file: Path, decoder: codecs.IncrementalDecoder, piece: bytes, done: int) -> str:
    """The next piece of text; an empty piece ends it."""
    try:
        return decoder.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        waiting = len(error.object) - len(piece)  # the beginning of a character, from the piece before
        raise InputError(
            f"{file} is not UTF-8 text ({error.reason} at byte {done - waiting + error.start:,}): "
            "convert it to UTF-8; a network trained with level=byte reads it as it is."
        ) from error
