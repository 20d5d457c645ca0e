"""Features of a text, and the units that go along with them."""

import numpy as np
import pytest

from deeplstm.inspect.report.features import FEATURES, features, tracking


def shown(name: str, text: str) -> str:
    return "".join(str(int(n)) for n in FEATURES[name][1](text))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("line length", "ab\ncde\n\nf", "120123001"),
        ("indentation", "  a b\n\tc\nd", "1222204400"),
        ("indentation", "a  b", "0000"),
        ("quotes", 'a "bc" d', "00111000"),
        ("quotes", "don't f'x' 'y'", "00000001100110"),
        ("quotes", 'a """b "c" d""" e', "00111111111100000"),
        ("quotes", '"open\n\nnext"', "111110000001"),
        ("quotes", r'"a\"b"', "111110"),
        ("quotes", "“x” «y»", "1100110"),
        ("brackets", "f(a[1], {b})]", "0112211122100"),
        ("comments", "a # b\nhttp://c // d\n", "001110" + "000000000" + "11110"),
        ("word length", "ab, c_d", "1200123"),
        ("capitals", "aBC d", "01100"),
    ],
)
def test_features_of_a_text(name: str, text: str, expected: str):
    assert shown(name, text) == expected


def test_a_feature_that_does_not_vary_is_left_out():
    found = features(list("abc\nd"))
    assert "quotes" not in found
    assert found["line length"].tolist() == [1, 2, 3, 0, 1]
    assert features([]) == {}


def test_a_word_has_the_feature_of_its_last_character():
    assert features(["to", " be", "\n", "or"])["line length"].tolist() == [2, 5, 0, 2]


def test_units_that_track_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    feature = (np.arange(600) // 13 % 7).astype(np.float32)
    noise = rng.normal(size=(40, 600)).astype(np.float32)
    follows, opposes = noise.copy(), noise.copy()
    follows[11] = feature + 0.2 * noise[11]
    opposes[5] = -feature
    traces = {("layer 1", "c"): follows, ("layer 1", "h"): noise, ("layer 2", "forget"): opposes}
    best, _ = tracking(traces, {"steps": feature}, most=3)["steps"]
    assert [(one.layer, one.value, one.unit) for one in best[:2]] == [("layer 2", "forget", 5), ("layer 1", "c", 11)]
    assert best[0].r == pytest.approx(-1, abs=1e-5)
    assert best[1].r == pytest.approx(np.corrcoef(feature, follows[11])[0, 1], abs=1e-5)
    assert len(best) == 3
    assert len({(one.layer, one.unit) for one in best}) == 3


def test_noise_stays_within_what_chance_gives():
    rng = np.random.default_rng(1)
    feature = rng.integers(0, 2, 800).astype(np.float32)
    noise = rng.normal(size=(100, 800)).astype(np.float32)
    best, chance = tracking({("layer 1", "h"): noise}, {"coin": feature})["coin"]
    assert abs(best[0].r) < chance < 0.25


def test_a_unit_that_never_changes_tracks_nothing():
    traces = {("layer 1", "h"): np.full((4, 50), 0.3, np.float32)}
    best, chance = tracking(traces, {"time": np.arange(50, dtype=np.float32)})["time"]
    assert (best[0].r, chance) == (0, 0)
