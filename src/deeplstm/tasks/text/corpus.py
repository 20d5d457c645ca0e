"""From text files to token numbers on disk, in little memory whatever the size of the text."""

import os
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deeplstm.errors import InputError
from deeplstm.tasks.files import check_files
from deeplstm.tasks.text.config import TextData
from deeplstm.tasks.text.encoded import Encoded, Writer
from deeplstm.tasks.text.files import Progress, progress_of_parts, read_bytes, read_text
from deeplstm.tasks.text.vocabulary import (
    BYTES,
    CODE_POINTS,
    LINE_END,
    UNKNOWN,
    UnseenSymbols,
    Vocabulary,
    WordSplitter,
    code_points,
)

LIBRARY_SIZE = 5_000_000
"""Bytes of the standard library that `standard_library` gives at most."""

MOST_WORDS = 1_000_000
"""Different words that are counted at a time; more neither fit in little memory nor are of use to a
softmax."""

PIECE = 1 << 20
"""Tokens copied at a time."""


class Split(NamedTuple):
    """The parts of a text; the test part only where a file for it is given."""

    train: Encoded
    valid: Encoded
    test: Encoded | None


def standard_library() -> list[Path]:
    """Python sources that every Python carries: a text to try things on that needs no download.

    The modules of the top level first, then those of packages, in alphabetical order, as many as fit in 5
    MB. Tests, tables of character sets and generated files are left out, and so is what is not ASCII, to
    keep the vocabulary small.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files, size = [], 0
    for path in sorted(_library_sources(root), key=lambda path: (len(path.parts), path.as_posix())):
        content = path.read_bytes()
        if content and content.isascii() and b"\0" not in content:
            size += len(content)
            if size > LIBRARY_SIZE:
                break
            files.append(path)
    if not files:
        raise InputError(
            f"This Python carries no readable sources of its library in {root}: name text files to train on."
        )
    return files


def _library_sources(root: Path) -> Iterator[Path]:
    left_out = {
        "test",
        "tests",
        "idlelib",
        "site-packages",
        "dist-packages",
        "lib2to3",
        "encodings",
        "pydoc_data",
        "turtledemo",
    }
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in left_out and not name.startswith("config-")]
        for name in names:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield Path(folder, name)


def build_vocabulary(files: Sequence[Path], data: TextData, progress: Progress | None = None) -> Vocabulary:
    """The vocabulary of a text.

    Characters are in the order of their code points, words in that of their frequency. Characters and words
    of the validation and test files belong to it; with `max_words` the training text alone decides, and the
    rest is `<unk>`.

    Args:
        progress: called with the bytes read and the bytes to read.

    Raises: InputError for a file that is missing, empty, a folder, binary or not UTF-8; for too many
    different words.
    """
    files = [Path(file) for file in files]
    held_out = [Path(file) for file in (data.valid, data.test) if file is not None]
    check_files([*files, *held_out])
    if data.level == "byte":
        return Vocabulary("byte", BYTES)
    if data.level == "char":
        return Vocabulary("char", _characters([*files, *held_out], progress))
    if data.max_words is None:
        counts = _count_words([*files, *held_out], progress, prune=False)
        return Vocabulary("word", _by_frequency(counts))
    counts = _count_words(files, progress, prune=True)
    counts |= dict.fromkeys((LINE_END, UNKNOWN), counts.total() + 1)  # they stay, however rare
    return Vocabulary("word", _by_frequency(counts)[: data.max_words])


def _characters(files: Sequence[Path], progress: Progress | None) -> list[str]:
    absent = np.ones(CODE_POINTS, bool)
    absent[ord("\n")] = False
    for file, heard in _each(files, progress):
        for text in read_text(file, heard):
            codes = code_points(text)
            absent[codes[np.take(absent, codes)]] = (
                False  # looking is faster than writing, and most pieces are old news
            )
    return [chr(code) for code in np.flatnonzero(~absent)]


def _count_words(files: Sequence[Path], progress: Progress | None, prune: bool) -> Counter[str]:
    """How often each word occurs; with `prune`, the rarest words are forgotten before memory runs out."""
    counts: Counter[str] = Counter()
    rare = 0
    for file, heard in _each(files, progress):
        for words in _words(file, heard):
            counts.update(words)
            if len(counts) > MOST_WORDS and not prune:
                raise InputError(
                    f"The text has more than {MOST_WORDS:,} different words, each of which would need an output: "
                    "give max_words, or choose level=char."
                )
            while len(counts) > MOST_WORDS:  # Manku & Motwani 2002: a frequent word comes back, a rare one stays away
                rare += 1
                counts = Counter({word: count for word, count in counts.items() if count > rare})
    return counts


def _words(file: Path, progress: Progress | None) -> Iterator[list[str]]:
    splitter = WordSplitter()
    yield from map(splitter, read_text(file, progress))
    yield splitter("", final=True)


def _by_frequency(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda word: (-counts[word], word))


def encode(files: Sequence[Path], vocabulary: Vocabulary, out: Path, progress: Progress | None = None) -> Encoded:
    """Write the numbers of all tokens of the files, one file after the other, to `out`.

    The files are joined as they are; at word level each begins a new line.

    Args:
        out: file to write; it appears when it is complete, with a small JSON file of the same name beside it.
        progress: called with the bytes read and the bytes to read.

    Raises: InputError for a file that cannot be used, or with all its symbols that are not in the vocabulary.
    """
    files = [Path(file) for file in files]
    check_files(files)
    with Writer(out, vocabulary) as writer:
        for file, heard in _each(files, progress):
            try:
                for ids in _tokens(file, vocabulary, heard):
                    writer.append(ids)
            except UnseenSymbols:  # of one piece; the user wants to hear of all of them
                known = set(vocabulary.symbols)
                everything = build_vocabulary([file], TextData(level=vocabulary.level)).symbols
                unseen = vocabulary.unseen(symbol for symbol in everything if symbol not in known)
                raise InputError(f"{file}: {unseen}") from None
    return writer.encoded


def _tokens(file: Path, vocabulary: Vocabulary, progress: Progress | None) -> Iterator[NDArray[Any]]:
    if vocabulary.level == "byte":
        yield from (np.frombuffer(piece, np.uint8) for piece in read_bytes(file, progress))
        return
    encoder = vocabulary.encoder()
    yield from map(encoder, read_text(file, progress))
    yield encoder("", final=True)


def split(
    files: Sequence[Path],
    data: TextData,
    folder: Path,
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
) -> Split:
    """Encode a text into `folder`: train.bin, valid.bin and, where a test file is given, test.bin.

    Without a validation file, the last `valid_fraction` of the tokens become it.

    Args:
        vocabulary: what `build_vocabulary` gave; built here if None.
        progress: called with the bytes read and the bytes to read, of all files together.
    """
    if vocabulary is None:
        vocabulary = build_vocabulary(files, data)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    groups = {"train": [Path(file) for file in files]}
    groups |= {name: [Path(file)] for name, file in (("valid", data.valid), ("test", data.test)) if file is not None}
    check_files([file for group in groups.values() for file in group])
    heard = progress_of_parts(progress, [sum(file.stat().st_size for file in group) for group in groups.values()])
    parts = {
        name: encode(group, vocabulary, folder / f"{name}.bin", part)
        for (name, group), part in zip(groups.items(), heard, strict=True)
    }
    if data.valid is None:
        parts["train"], parts["valid"] = _cut(parts["train"], folder / "valid.bin", data.valid_fraction, vocabulary)
    return Split(parts["train"], parts["valid"], parts.get("test"))


def _cut(whole: Encoded, out: Path, fraction: float, vocabulary: Vocabulary) -> tuple[Encoded, Encoded]:
    """Move the last part of a file of tokens to a file of its own."""
    ids = whole.open()
    kept = whole.tokens - max(1, round(whole.tokens * fraction))
    with Writer(out, vocabulary) as writer:
        writer.last = ids[kept - 1] if kept else None
        for begin in range(kept, whole.tokens, PIECE):
            writer.append(ids[begin : min(begin + PIECE, whole.tokens)])
    del ids  # some systems do not shorten a file that is mapped
    os.truncate(whole.path, kept * whole.dtype.itemsize)
    rest = Encoded(whole.path, whole.dtype, kept, whole.characters - writer.characters, whole.symbols)
    rest.save()
    return rest, writer.encoded


def _each(files: Sequence[Path], progress: Progress | None) -> Iterable[tuple[Path, Progress | None]]:
    """Each file, with a progress of its own that counts towards all of them."""
    return zip(files, progress_of_parts(progress, [file.stat().st_size for file in files]), strict=True)
