import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplstm.errors import InputError
from deeplstm.tasks.text.vocabulary import BYTES, Vocabulary, WordSplitter

ABC = Vocabulary("char", "\nabcé漢")
WORDS = Vocabulary("word", ["<eos>", "the", "cat", "<unk>"])
CLOSED = Vocabulary("word", ["the", "cat", "<eos>"])
BYTE = Vocabulary("byte", BYTES)


def test_characters():
    ids = ABC.encode("ab\ncé漢")
    assert ids.tolist() == [1, 2, 0, 3, 4, 5]
    assert ids.dtype == np.uint8
    assert ABC.decode(ids) == "ab\ncé漢"
    assert (len(ABC), ABC.start, ABC.unknown) == (6, 0, None)


def test_words_of_each_line_then_its_end():
    assert WORDS.encode(" the cat \nthe dog\n\n").tolist() == [1, 2, 0, 1, 3, 0, 0]
    assert WORDS.encode("the cat").tolist() == [1, 2, 0]  # the last line ends even without a line end
    assert WORDS.encode("").tolist() == []
    assert WORDS.decode([1, 2, 0, 1, 3, 0, 0]) == "the cat\nthe <unk>\n\n"
    assert (WORDS.start, WORDS.unknown) == (0, 3)


def test_bytes():
    assert BYTE.encode("é\n").tolist() == [0xC3, 0xA9, 10]
    assert BYTE.decode([0xC3, 0xA9, 0xFF]) == "é\ufffd"
    assert (len(BYTE), BYTE.start, BYTE.unknown) == (256, 10, None)
    assert BYTE.encode("\udcff").tolist() == [255]  # how the command line passes on a byte that is no UTF-8


def test_a_prompt_goes_on():
    assert WORDS.prompt("the cat\nthe").tolist() == [1, 2, 0, 1]
    assert WORDS.prompt("the cat\n").tolist() == [1, 2, 0]
    assert WORDS.prompt("").tolist() == []
    assert ABC.prompt("ab").tolist() == [1, 2]


@given(st.text())
def test_bytes_come_back(text):
    assert BYTE.decode(BYTE.encode(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_characters_come_back(text):
    vocabulary = Vocabulary("char", sorted({"\n", *text}))
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.text("ab \n\t\r"), st.lists(st.integers(0, 30)))
def test_words_do_not_depend_on_the_pieces(text, cuts):
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    splitter = WordSplitter()
    words = [word for a, b in pairwise(bounds) for word in splitter(text[a:b])]
    words += splitter("", final=True)
    lines = text.split("\n")[: None if text and not text.endswith("\n") else -1]
    assert words == [word for line in lines for word in [*line.split(), "<eos>"]]


@given(st.binary(), st.integers(1, 4))
def test_bytes_decoded_piece_by_piece(data, step):
    decoder = BYTE.decoder()
    pieces = [decoder(data[begin : begin + step]) for begin in range(0, len(data), step)]
    assert "".join(pieces) + decoder([], final=True) == data.decode(errors="replace")


def test_a_streamed_character_waits_for_its_last_byte():
    decoder = BYTE.decoder()
    assert [decoder([byte]) for byte in "é漢".encode()] == ["", "é", "", "", "漢"]


@given(st.lists(st.sampled_from(range(4))), st.integers(0, 20))
def test_the_length_of_a_text_of_words(ids, cut):
    """As long as the text that comes back, with a blank where a last line is still open."""
    text = WORDS.decode(ids)
    expected = len(text) + (bool(text) and not text.endswith("\n"))
    first, second = np.array(ids[:cut], np.uint8), np.array(ids[cut:], np.uint8)
    after = int(first[-1]) if len(first) else None
    assert WORDS.characters(first) + WORDS.characters(second, after) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_length_of_a_text_of_bytes(text):
    assert BYTE.characters(BYTE.encode(text)) == len(text)


def test_the_smallest_type_that_holds_the_numbers():
    def dtype(size):
        return Vocabulary("char", ["\n", *map(chr, range(0x20, 0x20 + size - 1))]).dtype

    assert dtype(256) == np.uint8
    assert dtype(257) == np.uint16
    assert Vocabulary("word", ["<eos>", *map(str, range(65536))]).dtype == np.dtype("<u4")


@pytest.mark.parametrize("size", [255, 256, 257])
def test_every_number_of_a_full_type_is_used(size):
    symbols = ["\n", *map(chr, range(0x1000, 0x1000 + size - 1))]
    vocabulary = Vocabulary("char", symbols)
    assert vocabulary.encode("".join(symbols)).tolist() == list(range(size))
    with pytest.raises(InputError, match="does not know: 'x'"):
        vocabulary.encode("x")


def test_unseen_characters_are_listed():
    with pytest.raises(InputError) as error:
        ABC.encode("aXb\x00漢字X")
    assert str(error.value) == (
        r"the text has 3 characters that the vocabulary of 6 does not know: '\x00' 'X' '字'. "
        "Leave them out, or train on text that has them."
    )
    with pytest.raises(InputError, match=r"has 100 characters .* and 80 more"):
        ABC.encode("".join(map(chr, range(1000, 1100))))


def test_unseen_words_are_listed_where_none_stands_for_them():
    with pytest.raises(InputError, match=r"2 words that the vocabulary of 3 does not know: 'a' 'dog'.*max_words"):
        CLOSED.encode("the dog\na cat dog")


def test_an_endless_word_is_refused(monkeypatch):
    monkeypatch.setattr(WordSplitter, "longest", 10)
    splitter = WordSplitter()
    splitter("x" * 10)
    with pytest.raises(InputError, match="choose level=char"):
        splitter("x")


@pytest.mark.parametrize("vocabulary", [ABC, WORDS, BYTE, Vocabulary("char", '\n"\\\x1f\u2028𝄞')])
def test_saved_and_loaded(tmp_path, vocabulary):
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.json"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged"),
        (b'{"format": 1, "level": "char", "symb', "damaged"),
        (b"\xff\xfe\x00\x01", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"[]", "format, level and symbols"),
        (b'{"level": "char"}', "format, level and symbols"),
        (b'{"format": 2, "level": "char", "symbols": ["\\n"]}', "format 2, this version reads format 1"),
        (b'{"format": 1, "level": "line", "symbols": ["\\n"]}', "the level 'line'"),
        (b'{"format": 1, "level": ["char"], "symbols": ["\\n"]}', "the level"),
        (b'{"format": 1, "level": "char", "symbols": "\\n"}', "no list of texts"),
        (b'{"format": 1, "level": "char", "symbols": ["\\n", 1]}', "no list of texts"),
        (b'{"format": 1, "level": "char", "symbols": ["a"]}', r"no '\\n'"),
        (b'{"format": 1, "level": "char", "symbols": ["\\n", "ab"]}', "more than one character"),
        (b'{"format": 1, "level": "char", "symbols": ["\\n", "\\n"]}', "twice"),
        (b'{"format": 1, "level": "word", "symbols": ["a"]}', "no '<eos>'"),
        (b'{"format": 1, "level": "word", "symbols": ["<eos>", "a b"]}', "blanks"),
        (b'{"format": 1, "level": "word", "symbols": ["<eos>", ""]}', "blanks"),
        (b'{"format": 1, "level": "byte", "symbols": ["\\n"]}', "256 bytes"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path, content, complaint):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"vocabulary.json cannot be read \(No such file"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_what_is_saved_is_readable(tmp_path):
    CLOSED.save(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == {
        "format": 1,
        "level": "word",
        "symbols": ["the", "cat", "<eos>"],
    }
