"""The symbols a text is made of, and the way between text and their numbers."""

import codecs
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from deeplstm.errors import InputError
from deeplstm.tasks.text.config import Level
from deeplstm.training.files import write_atomic

LINE_END = "<eos>"
UNKNOWN = "<unk>"
BYTES = tuple(chr(n) if n < 128 else f"\\x{n:02x}" for n in range(256))
"""How a byte is shown where a symbol is wanted; `Decoder` makes text of them."""

_FORMAT = 1
_SHOWN = 20
CODE_POINTS = 0x110000


class Vocabulary:
    """The symbols of a text at one level, in the order of their numbers.

    A character vocabulary always has the line end, a word vocabulary has `<eos>`, which stands for it
    (Mikolov's convention: the words of a line, then `<eos>`), and a byte vocabulary is the 256 bytes.

    Args:
        level: "char", "word" or "byte".
        symbols: characters, words without blanks, or `BYTES`; each once.

    Attributes:
        start: number of the line end, which a text's first token is predicted from.
        unknown: number of `<unk>`, which stands for every unseen word; None where the text has no such word.
        dtype: the smallest of uint8, uint16 and uint32 that holds every number, little-endian.
    """

    def __init__(self, level: Level, symbols: Iterable[str]) -> None:
        self.level = level
        self.symbols = tuple(symbols)
        complaint = _complaint(self.level, self.symbols)
        if complaint:
            raise InputError(f"A {level} vocabulary was given {complaint}.")
        self.start = self._numbers[LINE_END if level == "word" else "\n"]
        self.unknown = self._numbers.get(UNKNOWN) if level == "word" else None
        self.dtype = np.dtype("<u1" if len(self) <= 1 << 8 else "<u2" if len(self) <= 1 << 16 else "<u4")

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.level, self.symbols) == (other.level, other.symbols)

    def __hash__(self) -> int:
        return hash((self.level, self.symbols))

    def __repr__(self) -> str:
        return f"Vocabulary({self.level!r}, {len(self)} symbols)"

    def encode(self, text: str) -> NDArray[Any]:
        """Numbers of a whole text; at word level every line, the last one included, ends with `<eos>`.

        Raises: InputError that lists the symbols of the text that are not in the vocabulary.
        """
        encoder = self.encoder()
        return np.concatenate([encoder(text), encoder("", final=True)])

    def prompt(self, text: str) -> NDArray[Any]:
        """Numbers of the beginning of a text: as `encode`, but the last line goes on."""
        ids = self.encode(text)
        return ids[:-1] if self.level == "word" and text and not text.endswith("\n") else ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text that numbers stand for; bytes that are no UTF-8 become U+FFFD, one blank parts words."""
        return self.decoder()(ids, final=True)

    def encoder(self) -> Callable[..., NDArray[Any]]:
        """A function `(text, final=False) -> ids` that takes a text piece by piece."""
        if self.level == "word":
            splitter = WordSplitter()
            return lambda text, final=False: self._encode_words(splitter(text, final))
        if self.level == "byte":
            return lambda text, final=False: np.frombuffer(text.encode(errors="surrogateescape"), self.dtype)
        return lambda text, final=False: self._encode_characters(text)

    def decoder(self) -> "Decoder":
        """A function `(ids, final=False) -> text` that takes numbers piece by piece, for streaming."""
        return Decoder(self)

    def characters(self, ids: NDArray[Any], after: int | None = None) -> int:
        """Length of the text that numbers stand for, had it been decoded after the token `after` (None: at
        the start).

        A word counts its letters and the one blank or line end behind it, so `<eos>` counts only on an empty
        line. A byte counts unless it continues a UTF-8 sequence.
        """
        if self.level == "char":
            return len(ids)
        if self.level == "byte":
            return int(np.count_nonzero((ids & 0xC0) != 0x80))
        ends = ids == self.start
        previous = np.concatenate([[after is None or after == self.start], ends[:-1]]) if len(ids) else ends
        return int(self._lengths[ids].sum()) + int(np.count_nonzero(ends & previous))

    def save(self, path: str | os.PathLike[str]) -> None:
        content = {"format": _FORMAT, "level": self.level, "symbols": self.symbols}
        write_atomic(path, (json.dumps(content, ensure_ascii=False, indent=0) + "\n").encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises: InputError that names the file if it is missing, damaged or something else.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): a run needs its vocabulary.json.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged ({error}): restore it from a copy of the run.") from error
        complaint = _complaint_about_content(content)
        if complaint:
            raise InputError(f"{path} is not a vocabulary ({complaint}): restore it from a copy of the run.")
        return cls(content["level"], content["symbols"])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """Characters of each word and the blank behind it."""
        return np.array([0 if word == LINE_END else len(word) + 1 for word in self.symbols])

    @cached_property
    def _table(self) -> NDArray[Any]:
        """Number of each code point, one beyond the last where it has none."""
        table = np.full(CODE_POINTS, len(self), np.dtype("<u4"))
        table[[ord(symbol) for symbol in self.symbols]] = np.arange(len(self))
        return table if len(self) > self._largest else table.astype(self.dtype)

    @property
    def _largest(self) -> int:
        return int(np.iinfo(self.dtype).max)

    def _encode_characters(self, text: str) -> NDArray[Any]:
        codes = code_points(text)
        ids = np.take(self._table, codes)  # twice as fast as indexing
        if ids.size and int(ids.max()) == len(self):
            raise self.unseen(chr(code) for code in np.unique(codes[ids == len(self)]))
        return ids.astype(self.dtype, copy=False)

    def _encode_words(self, words: list[str]) -> NDArray[Any]:
        numbers, unknown = self._numbers, self.unknown
        if unknown is not None:
            return np.fromiter((numbers.get(word, unknown) for word in words), self.dtype, len(words))
        try:
            return np.fromiter(map(numbers.__getitem__, words), self.dtype, len(words))
        except KeyError:
            raise self.unseen(sorted(set(words) - set(numbers))) from None

    def unseen(self, symbols: Iterable[str]) -> "UnseenSymbols":
        """The error about symbols that are not in the vocabulary."""
        symbols = list(symbols)
        what = ("character" if self.level == "char" else "word") + ("" if len(symbols) == 1 else "s")
        shown = " ".join(map(_shown, symbols[:_SHOWN])) + (
            f" and {len(symbols) - _SHOWN} more" if symbols[_SHOWN:] else ""
        )
        advice = "" if self.level == "char" else " (with max_words, rare and unseen words become <unk>)"
        return UnseenSymbols(
            f"the text has {len(symbols)} {what} that the vocabulary of {len(self)} does not know: {shown}. "
            f"Leave them out, or train on text that has them{advice}."
        )


class UnseenSymbols(InputError):
    """A text has symbols that are not in the vocabulary."""


class WordSplitter:
    """Words between blanks, and `<eos>` at each line end, of a text that comes in pieces.

    A call gives the words that end in its piece; with `final` the last line ends, whether or not a line end
    is there.
    """

    longest = 1_000_000

    def __init__(self) -> None:
        self.rest = ""  # a word that the next piece may go on with
        self.line_open = False

    def __call__(self, text: str, final: bool = False) -> list[str]:
        if text:
            self.line_open = not text.endswith("\n")
        if final and self.line_open:
            text += "\n"
        text = self.rest + text
        words = text.replace("\n", f" {LINE_END} ").split()
        self.rest = words.pop() if words and not text[-1].isspace() else ""
        if len(self.rest) > self.longest:
            raise InputError(
                f"The text has a word of more than {self.longest:,} letters, but blanks part words at this level: "
                "choose level=char."
            )
        return words


class Decoder:
    """Text from numbers that come in pieces; a character whose last byte is still to come waits for it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self.line_start = True

    def __call__(self, ids: Iterable[int], final: bool = False) -> str:
        numbers: Sequence[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if self.vocabulary.level == "byte":
            return self.bytes.decode(bytes(numbers), final)
        symbols = [self.vocabulary.symbols[number] for number in numbers]
        return "".join(symbols if self.vocabulary.level == "char" else map(self._after_blank, symbols))

    def _after_blank(self, word: str) -> str:
        ends = word == LINE_END
        text = "\n" if ends else word if self.line_start else " " + word
        self.line_start = ends
        return text


def code_points(text: str) -> NDArray[Any]:
    """Code point of every character, in the narrower of two types."""
    if text.isascii():  # four times less to move
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def _shown(symbol: str) -> str:
    return repr(symbol if len(symbol) <= 40 else symbol[:40] + "...")


def _complaint(level: str, symbols: Sequence[str]) -> str | None:
    """What is wrong with these symbols, if anything."""
    if level not in get_args(Level):
        return f"the level {level!r}, but there are {', '.join(get_args(Level))}"
    if len(set(symbols)) != len(symbols):
        return "some symbols twice, but holds each once"
    if level == "byte":
        return None if tuple(symbols) == BYTES else "other symbols than the 256 bytes in their order"
    needed = LINE_END if level == "word" else "\n"
    if needed not in symbols:
        return f"no {needed!r}, but needs it for the line end"
    if level == "word":
        return None if all(symbol.split() == [symbol] for symbol in symbols) else "words with blanks in them"
    return None if all(len(symbol) == 1 for symbol in symbols) else "symbols of more than one character"


def _complaint_about_content(content: Any) -> str | None:
    if not isinstance(content, dict) or not {"format", "level", "symbols"} <= set(content):
        return "format, level and symbols are expected in it"
    if content["format"] != _FORMAT:
        return f"format {content['format']!r}, this version reads format {_FORMAT}"
    if not isinstance(content["symbols"], list) or not all(isinstance(s, str) for s in content["symbols"]):
        return "symbols is no list of texts"
    complaint = _complaint(content["level"], content["symbols"])
    return complaint and f"it has {complaint}"
