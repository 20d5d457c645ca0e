import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplstm.errors import InputError
from deeplstm.tasks.text import corpus, files
from deeplstm.tasks.text.config import TextData
from deeplstm.tasks.text.corpus import build_vocabulary, encode, split, standard_library
from deeplstm.tasks.text.encoded import Encoded
from deeplstm.tasks.text.vocabulary import Vocabulary

CHAR, WORD, BYTE = TextData(), TextData(level="word"), TextData(level="byte")


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_bytes(text.encode())
        return tmp_path / name

    return write


def test_the_standard_library_is_some_megabytes_of_plain_ascii():
    sources = standard_library()
    names = {path.name for path in sources}
    assert {"argparse.py", "tarfile.py", "random.py"} <= names
    assert not [path for path in sources if {"test", "idlelib", "site-packages"} & set(path.parts)]
    assert not [name for name in names if name.startswith("_sysconfigdata")]
    content = b"".join(path.read_bytes() for path in sources)
    assert 2_000_000 < len(content) <= 5_000_000
    assert content.isascii()
    assert len(set(content)) < 110
    assert standard_library() == sources


def test_a_python_without_sources_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="name text files to train on"):
        standard_library()


def test_characters_in_order_with_those_of_all_files(write):
    data = TextData(valid=write("valid", "é"), test=write("test", "漢"))
    vocabulary = build_vocabulary([write("a", "ba"), write("b", "c\r")], data)
    assert vocabulary == Vocabulary("char", "\n\rabcé漢")


def test_words_by_frequency_with_those_of_all_files(write):
    data = TextData(level="word", valid=write("valid", "c\n"))
    vocabulary = build_vocabulary([write("a", "b a\nb b a d"), write("b", "b")], data)
    assert vocabulary == Vocabulary("word", ["<eos>", "b", "a", "c", "d"])
    assert vocabulary.unknown is None


def test_the_most_frequent_words_of_the_training_text(write):
    data = TextData(level="word", valid=write("valid", "v v v v v v v v"), max_words=4)
    vocabulary = build_vocabulary([write("a", "c b a b a b\nz")], data)
    assert vocabulary == Vocabulary("word", ["<eos>", "<unk>", "b", "a"])
    assert vocabulary.encode("a v b").tolist() == [3, 1, 2, 0]


def test_a_text_that_has_unknown_words_of_its_own(write):
    text = write("a", "a <unk> a\n")
    assert build_vocabulary([text], WORD).unknown == 2
    assert len(build_vocabulary([text], TextData(level="word", max_words=3))) == 3
    assert len(build_vocabulary([text], TextData(level="word", max_words=9))) == 3


def test_too_many_words_ask_for_a_limit(write, monkeypatch):
    monkeypatch.setattr(corpus, "MOST_WORDS", 10)
    text = write("a", " ".join(map(str, range(10))))
    with pytest.raises(InputError, match=r"more than 10 different words.*give max_words"):
        build_vocabulary([text], WORD)


def test_frequent_words_survive_when_rare_ones_are_forgotten(write, monkeypatch):
    monkeypatch.setattr(corpus, "MOST_WORDS", 50)
    monkeypatch.setattr(files, "PIECE", 100)
    lines = [f"often again often {n}\n" for n in range(1000)]
    data = TextData(level="word", max_words=4)
    assert set(build_vocabulary([write("a", "".join(lines))], data).symbols) == {"<eos>", "<unk>", "often", "again"}


def test_bytes_need_no_look_at_the_text(write, tmp_path):
    assert len(build_vocabulary([write("a", "a")], BYTE)) == 256
    with pytest.raises(InputError, match="missing"):
        build_vocabulary([tmp_path / "missing"], BYTE)


@given(
    texts=st.lists(st.text(st.sampled_from("ab é漢\U0001f600\r\n")).filter(bool), min_size=1, max_size=3),
    level=st.sampled_from(["char", "word", "byte"]),
    piece=st.integers(1, 9),
)
def test_a_text_encoded_piece_by_piece_is_the_text_encoded_at_once(tmp_path_factory, texts, level, piece):
    folder = tmp_path_factory.mktemp("text")
    paths = [folder / str(n) for n in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PIECE", piece)
        vocabulary = build_vocabulary(paths, TextData(level=level))
        encoded = encode(paths, vocabulary, folder / "out.bin")
    expected = np.concatenate([vocabulary.encode(text) for text in texts])
    np.testing.assert_array_equal(np.asarray(encoded.open()), expected)
    assert encoded == Encoded.load(folder / "out.bin", vocabulary)
    assert encoded.characters == vocabulary.characters(expected)
    if level != "word":
        assert vocabulary.decode(expected) == "".join(texts)
        assert encoded.characters == len("".join(texts))


def test_unseen_characters_of_the_whole_file_are_listed(write, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "PIECE", 4)
    text = write("a", "abababXabababYaXb")
    with pytest.raises(InputError, match=r"a: the text has 2 characters .*: 'X' 'Y'\. Leave"):
        encode([text], Vocabulary("char", "\nab"), tmp_path / "out.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_unseen_words_of_the_whole_file_are_listed(write, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "PIECE", 4)
    with pytest.raises(InputError, match=r"2 words .*: 'x' 'y'\. Leave"):
        encode([write("a", "b b x b b b b y x")], Vocabulary("word", ["<eos>", "b"]), tmp_path / "out.bin")


def test_the_end_of_the_text_is_held_out(write, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PIECE", 7)
    text = "".join(map(chr, range(32, 127)))
    parts = split([write("a", text[:50]), write("b", text[50:])], TextData(valid_fraction=0.2), tmp_path / "data")
    vocabulary = build_vocabulary([write("c", text)], CHAR)
    assert vocabulary.decode(np.asarray(parts.train.open())) == text[:76]
    assert vocabulary.decode(np.asarray(parts.valid.open())) == text[76:]
    assert parts.test is None
    for part, name in ((parts.train, "train"), (parts.valid, "valid")):
        assert part == Encoded.load(tmp_path / "data" / f"{name}.bin", vocabulary)
        assert part.characters == part.tokens


@pytest.mark.parametrize("words", ["a b\nc d\n\ne", "a\n\n\n\nb c"])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.99])
def test_characters_of_both_parts_add_up(write, tmp_path, words, fraction):
    path = write("a", words)
    vocabulary = build_vocabulary([path], WORD)
    whole = encode([path], vocabulary, tmp_path / "whole.bin")
    data = TextData(level="word", valid_fraction=fraction)
    train, valid, _ = split([path], data, tmp_path / "data", vocabulary)
    assert train.tokens + valid.tokens == whole.tokens
    assert valid.tokens == max(1, round(whole.tokens * fraction))
    assert train.characters + valid.characters == whole.characters == len(words) + 1
    assert train.characters == vocabulary.characters(np.asarray(train.open()))


def test_files_of_their_own_for_validation_and_test(write, tmp_path):
    heard = []
    data = TextData(level="byte", valid=write("v", "vv"), test=write("t", "ttt"))
    parts = split([write("a", "aaaaa")], data, tmp_path / "data", progress=lambda *done: heard.append(done))
    assert [np.asarray(part.open()).tobytes() for part in parts] == [b"aaaaa", b"vv", b"ttt"]
    assert heard == [(5, 10), (7, 10), (10, 10)]


def test_a_bad_file_is_named_before_anything_is_written(write, tmp_path):
    data = TextData(level="byte", test=tmp_path / "missing")
    with pytest.raises(InputError, match="missing cannot be read"):
        split([write("a", "aaaaa")], data, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_large_text_is_encoded_in_little_memory(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from deeplstm.tasks.text.config import TextData
from deeplstm.tasks.text.corpus import split
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
path, block = Path(sys.argv[1]), "Ein längerer Text, 漢字 \\n".encode() * 40_000
with open(path, "wb") as file:
    while file.tell() < 100e6:
        file.write(block)
before = peak()
split([path], TextData(), path.parent / "data")
print(peak() - before)
"""
    run = [sys.executable, "-c", code, str(tmp_path / "large.txt")]
    grown_mb = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown_mb < 50
