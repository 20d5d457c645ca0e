"""Arrays in a page: what comes back, how far off, and how large."""

import base64
import json
import zlib

import numpy as np
import pytest

from deeplstm.errors import InputError
from deeplstm.inspect.report.arrays import LEVELS, fit, pack


def unpacked(packed):
    """What the page's own script does, written a second time."""
    q = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(packed["shape"])
    share = q / (packed["levels"] - 1)
    low, high = (np.broadcast_to(np.array(packed[end], float), len(q))[:, None] for end in ("low", "high"))
    if packed["bent"]:
        return high * (2 * share - 1) * np.abs(2 * share - 1)
    return low + share * (high - low)


def test_gates_come_back_to_half_a_level():
    values = np.random.default_rng(0).random((7, 50), np.float32)
    packed = pack(values)
    assert (packed["low"], packed["high"]) == (0, 1)
    assert np.abs(unpacked(packed) - values).max() <= 0.5 / 254 + 1e-6
    assert np.abs(unpacked(pack(values, 31)) - values).max() <= 0.5 / 30 + 1e-6


def test_each_signed_row_has_a_range_of_its_own():
    values = np.array([[-3.0, 0.0, 1.5], [0.001, -0.002, 0.0], [0.0, 0.0, 0.0]], np.float32)
    packed = pack(values)
    assert packed["high"] == [3.0, 0.002, 1.0]
    assert np.abs(unpacked(packed) - values).max(axis=1) == pytest.approx([0, 0, 0], abs=0.012)
    assert unpacked(packed)[:, 2].tolist()[1:] == [0, 0]  # zero stays zero


def test_small_values_of_a_row_that_runs_far_away_are_still_told_apart():
    values = np.array([[500.0, 1.0, 2.0, 0.0, -1.0]], np.float32)
    one, two, zero, minus = unpacked(pack(values))[0, 1:]
    assert minus < zero == 0 < one < two
    assert unpacked(pack(values))[0, 0] == 500


def test_json_holds_it():
    json.dumps(pack(np.ones((2, 3), np.float32) * 7), allow_nan=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad):
    with pytest.raises(InputError, match="NaN or infinite"):
        pack(np.array([[0.5, bad]]))


def test_an_empty_array():
    assert pack(np.zeros((3, 0), np.float32))["shape"] == [3, 0]


def test_as_fine_as_it_fits():
    noise = {name: np.random.default_rng(name).random((20, 500), np.float32) for name in range(3)}
    steps, packed = fit(noise, 10**6)
    assert (steps, packed[0]["levels"]) == (500, LEVELS[0])
    steps, packed = fit(noise, 36_000)
    assert steps == 500
    assert LEVELS[-1] <= packed[0]["levels"] < LEVELS[0]
    assert sum(len(one["data"]) for one in packed.values()) <= 36_000


def test_fewer_steps_where_no_level_is_coarse_enough():
    noise = {name: np.random.default_rng(name).random((20, 500), np.float32) for name in range(3)}
    steps, packed = fit(noise, 10_000)
    assert 50 < steps < 500
    assert sum(len(one["data"]) for one in packed.values()) <= 10_000
    assert np.abs(unpacked(packed[1]) - noise[1][:, :steps]).max() <= 0.5 / 30 + 1e-6  # the first steps, in their place
    assert fit(noise, 1)[0] == 1
