"""Arrays small enough for a page: one byte a number, compressed, as text."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Key = TypeVar("Key", bound=Hashable)
Packed = dict[str, Any]

FAR = 4.0

LEVELS = (255, 127, 63, 31)
"""How finely a row may be rounded, finest first. Odd, so that 0 stays 0 where a range has it in its middle."""


def pack(values: NDArray[Any], levels: int = LEVELS[0]) -> Packed:
    """A table of numbers as text that a page unpacks: rounded to so many levels, a byte each, deflated, in base64.

    What lies in [0, 1] is rounded within it, anything else within [-m, m], m being the largest absolute value of its row,
    so that the error is at most half a level: 0.002 for a gate at 255 levels. A memory may run far away for a while: where
    an array goes beyond `FAR`, levels lie closer together around 0 ("bent": value = m s |s| with s in [-1, 1]).

    Shapes: values (N, T). Returns {"shape", "low", "high" (a number, or one a row), "bent", "limit", "levels", "data"};
        "limit" is where a drawing of all rows should end: the 95th percentile of the absolute values.
    Raises: InputError for NaN and infinite values.
    """
    if not np.isfinite(values).all():
        raise InputError("A network that gives NaN or infinite values cannot be drawn: inspect earlier weights of it.")
    if values.size and values.min() >= 0 and values.max() <= 1:
        low: Any = 0.0
        high: Any = 1.0
        bent, limit, shares = False, 1.0, values
    else:
        largest = np.abs(values).max(axis=1, initial=0, keepdims=True)
        largest[largest == 0] = 1
        high = [float(f"{row:.5g}") for row in largest[:, 0]]
        low = [-row for row in high]
        bent = bool(largest.max(initial=0) > FAR)
        limit = float(f"{np.quantile(np.abs(values), 0.95):.2g}") or 1.0 if values.size else 1.0
        shares = values / np.array(high)[:, None]
        shares = ((np.sign(shares) * np.sqrt(np.abs(shares)) if bent else shares) + 1) / 2
    rounded = np.rint(np.clip(shares, 0, 1) * (levels - 1)).astype(np.uint8)  # five digits of m may round down
    data = base64.b64encode(zlib.compress(rounded.tobytes(), 9)).decode()
    return {
        "shape": list(values.shape),
        "low": low,
        "high": high,
        "bent": bent,
        "limit": limit,
        "levels": levels,
        "data": data,
    }


def fit(arrays: Mapping[Key, NDArray[Any]], size: int) -> tuple[int, dict[Key, Packed]]:
    """Pack arrays over the same steps into `size` characters: as fine as they fit; fewer steps where no level does.

    Shapes: arrays (N, T) each, N as it likes. Returns how many steps are left and the arrays, packed.
    """
    steps = next(iter(arrays.values())).shape[1]
    while True:
        for levels in LEVELS:
            packed = {name: pack(values[:, :steps], levels) for name, values in arrays.items()}
            taken = sum(len(one["data"]) for one in packed.values())
            if taken <= size or steps == 1:
                return steps, packed
        steps = max(1, int(steps * size / taken * 0.97))
