import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeplstm.errors import InputError
from deeplstm.tasks.text.encoded import Encoded, Ids, Writer
from deeplstm.tasks.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("word", ["<eos>", *map(str, range(300))])


@pytest.fixture
def encoded(tmp_path: Path) -> Encoded:
    with Writer(tmp_path / "train.bin", VOCABULARY) as writer:
        writer.append(np.array([3, 300, 0], np.int64))
        writer.append(np.array([], np.int64))
        writer.append(np.array([0, 258], np.int64))
    return writer.encoded


def test_written_and_read(encoded):
    assert encoded.path.read_bytes() == bytes([3, 0, 44, 1, 0, 0, 0, 0, 2, 1])
    assert (encoded.tokens, encoded.characters, encoded.symbols) == (5, len("2 299\n\n257 "), 301)
    ids = encoded.open()
    assert len(ids) == 5
    assert ids[1:4].tolist() == [300, 0, 0]
    assert ids[4] == ids[-1] == 258
    assert ids[-2:].tolist() == [0, 258]
    assert ids[3:99].tolist() == [0, 258]
    assert np.asarray(ids).tolist() == [3, 300, 0, 0, 258]
    assert Encoded.load(encoded.path, VOCABULARY) == encoded


def test_what_is_read_is_a_copy(encoded):
    ids = encoded.open()
    ids[:2][:] = 7
    assert ids[:2].tolist() == [3, 300]


def test_reading_goes_on_after_pages_are_handed_back(encoded, monkeypatch):
    monkeypatch.setattr(Ids, "release_bytes", 0)
    ids = encoded.open()
    assert [ids[n : n + 1].tolist() for n in range(5)] == [[3], [300], [0], [0], [258]]


def test_nothing_is_left_of_what_fails(tmp_path):
    with pytest.raises(IndexError), Writer(tmp_path / "train.bin", VOCABULARY) as writer:
        writer.append(np.array([1, 999]))  # no such symbol
    assert list(tmp_path.iterdir()) == []


def test_a_text_without_tokens(tmp_path):
    with Writer(tmp_path / "empty.bin", VOCABULARY) as writer:
        pass
    assert np.asarray(Encoded.load(writer.encoded.path).open()).tolist() == []


def test_a_file_cut_short_is_named(encoded):
    encoded.path.write_bytes(encoded.path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train.bin has 9 bytes, but train.json speaks of 10: encode"):
        Encoded.load(encoded.path)


@pytest.mark.parametrize("name", ["train.bin", "train.json"])
def test_a_missing_file_is_named(encoded, name):
    encoded.path.with_name(name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        Encoded.load(encoded.path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "format 2"),
        ({"dtype": "float64"}, "dtype 'float64'"),
        ({"dtype": "uint7"}, "dtype 'uint7'"),
        ({"dtype": 3}, "missing or wrong: dtype"),
        ({"tokens": -5}, "below zero: tokens"),
        ({"tokens": 5.0, "symbols": None, "characters": True}, "missing or wrong: tokens, characters, symbols"),
    ],
)
def test_a_foreign_description_is_named(encoded, change, complaint):
    about = encoded.path.with_suffix(".json")
    about.write_text(json.dumps(json.loads(about.read_text()) | change))
    with pytest.raises(InputError, match=complaint) as error:
        Encoded.load(encoded.path)
    assert str(about) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b"[" * 100_000])
def test_a_damaged_description_is_named(encoded, content):
    encoded.path.with_suffix(".json").write_bytes(content)
    with pytest.raises(InputError, match=r"train.json"):
        Encoded.load(encoded.path)


def test_numbers_of_another_vocabulary(encoded):
    with pytest.raises(InputError, match="has 301 symbols, but the vocabulary has 2"):
        Encoded.load(encoded.path, Vocabulary("char", "\na"))


def test_a_moved_folder_is_still_read(encoded, tmp_path):
    folder = tmp_path.rename(tmp_path.with_name("moved"))
    assert Encoded.load(folder / "train.bin") == replace(encoded, path=folder / "train.bin")


def test_an_epoch_over_a_large_file_stays_in_little_memory(tmp_path):
    """A sparse file of 512 MB costs no disk, but each page that is read counts in full as long as it is kept."""
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from deeplstm.tasks.text.encoded import Ids
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
size, streams, window = 1 << 29, 16, 1 << 16
path = Path(sys.argv[1])
with open(path, "wb") as file:
    file.truncate(size)
ids, before = Ids(path, np.dtype("<u1"), size), peak()
stream = size // streams
for begin in range(0, stream, window):
    for first in range(begin, size, stream):
        assert len(ids[first : first + window]) == window
print(peak() - before)
"""
    run = [sys.executable, "-c", code, str(tmp_path / "sparse.bin")]
    grown_mb = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown_mb < 128
