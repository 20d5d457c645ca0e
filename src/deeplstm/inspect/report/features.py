"""What units follow: a text's features, character by character, and the units that go along with such or other curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHIFTS = 19
"""Shifted copies of a feature that show what chance gives: the best of 19 is passed by chance once in 20 times."""

CLOSING = {"(": ")", "[": "]", "{": "}"}
QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’"}


def features(pieces: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    r"""Every feature of a text that varies in it, after each of its pieces (characters, or words with their blank).

    >>> features(list("ab\ncd"))["line length"].tolist()
    [1.0, 2.0, 0.0, 1.0, 2.0]
    """
    ends = np.cumsum([len(piece) for piece in pieces]) - 1
    text = "".join(pieces)
    found = {}
    for name, (_, of) in FEATURES.items():
        values = np.fromiter(of(text), np.float32, len(text))[np.maximum(ends, 0)] if text else np.empty(0, np.float32)
        if len(values) and values.min() != values.max():
            found[name] = values
    return found


class Tracking(NamedTuple):
    """A unit whose value goes along with a feature, r being Pearson's correlation over the text."""

    layer: str
    value: str
    unit: int
    r: float


def tracking(
    traces: Mapping[tuple[str, str], NDArray[Any]], features: Mapping[str, NDArray[Any]], most: int = 8
) -> dict[str, tuple[list[Tracking], float]]:
    """For every feature the units that go along with it best, each with the one of its values that does; and chance.

    Chance is what the best unit of all reaches with copies of the feature that are shifted around in time: what lies below
    says nothing about the network.

    Shapes: traces by (layer, value) of (H, T); features (T,) each.
    """
    copies = {name: _shifted(feature) for name, feature in features.items()}
    best: dict[str, dict[tuple[str, int], Tracking]] = {name: {} for name in features}
    chance = dict.fromkeys(features, 0.0)
    for (layer, value), of_units in traces.items():
        units = _standard(of_units)
        for name, of_feature in copies.items():
            r = units @ of_feature.T / of_feature.shape[1]  # (H, 1 + SHIFTS)
            chance[name] = max(chance[name], float(np.abs(r[:, 1:]).max(initial=0)))
            for unit in np.argsort(-np.abs(r[:, 0]))[:most]:
                one = Tracking(layer, value, int(unit), float(r[unit, 0]))
                key = (layer, one.unit)
                if key not in best[name] or abs(one.r) > abs(best[name][key].r):
                    best[name][key] = one
    return {
        name: (sorted(found.values(), key=lambda one: -abs(one.r))[:most], chance[name]) for name, found in best.items()
    }


def _shifted(feature: NDArray[Any]) -> NDArray[Any]:
    """A feature as it is, and its copies shifted around in time. Shapes: (T,) -> (1 + SHIFTS, T)."""
    shifts = np.linspace(0, len(feature), SHIFTS + 1, endpoint=False).astype(int)
    return _standard(np.stack([np.roll(feature, shift) for shift in shifts]).astype(np.float32))


def _standard(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of mean 0 and variance 1; a row that never changes becomes zeros, and goes along with nothing."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-6)


# --- one number for each character of a text, that character included


def _line_length(text: str) -> Iterable[int]:
    column = 0
    for character in text:
        column = 0 if character == "\n" else column + 1
        yield column


def _indentation(text: str) -> Iterable[int]:
    blank, indented = True, 0
    for character in text:
        if character == "\n":
            blank, indented = True, 0
        elif blank and character in " \t":
            indented += 1 if character == " " else 4
        else:
            blank = False
        yield indented


def _quotes(text: str) -> Iterable[int]:
    """1 from an opening quote to the character before the one that closes it.

    An apostrophe opens nothing. What is never closed ends with the paragraph, unless the quote is a triple one.
    """
    closing, skip = "", 0
    for n, character in enumerate(text):
        if skip:
            skip -= 1
        elif closing:
            if text.startswith(closing, n) and text[n - 1 : n] != "\\":
                skip, closing = len(closing) - 1, ""
            elif len(closing) == 1 and text.startswith("\n\n", n):
                closing = ""
        elif character in QUOTES and not (character in "'’" and n and text[n - 1].isalnum() and _in_word(text, n)):
            triple = character in "\"'" and text.startswith(character * 3, n)
            closing = character * 3 if triple else QUOTES[character]
            skip = 2 if triple else 0
        yield int(bool(closing))


def _in_word(text: str, n: int) -> bool:
    """Whether a quote behind a letter is an apostrophe; f'...', r'...' and the like are not."""
    start = n
    while start and text[start - 1].isalnum():
        start -= 1
    return text[start:n].lower() not in ("f", "r", "b", "u", "rb", "br", "fr", "rf")


def _brackets(text: str) -> Iterable[int]:
    expected: list[str] = []
    for character in text:
        if character in CLOSING:
            expected.append(CLOSING[character])
        elif expected and character == expected[-1]:
            expected.pop()
        yield len(expected)


def _comments(text: str) -> Iterable[int]:
    inside = False
    for n, character in enumerate(text):
        if character == "\n":
            inside = False
        elif character == "#" or (text.startswith("//", n) and text[n - 1 : n] != ":"):
            inside = True
        yield int(inside)


def _word_length(text: str) -> Iterable[int]:
    letters = 0
    for character in text:
        letters = letters + 1 if character.isalnum() or character == "_" else 0
        yield letters


def _capitals(text: str) -> Iterable[int]:
    return (int(character.isupper()) for character in text)


FEATURES: dict[str, tuple[str, Callable[[str], Iterable[int]]]] = {
    "line length": ("characters since the line began", _line_length),
    "quotes": ("whether this is inside quotes", _quotes),
    "brackets": ("how many brackets are open", _brackets),
    "indentation": ("blanks at the beginning of the line", _indentation),
    "comments": ("whether this is behind # or //", _comments),
    "word length": ("letters since the word began", _word_length),
    "capitals": ("whether this is a capital letter", _capitals),
}
"""Name -> (what it counts, the count at every character of a text)."""
