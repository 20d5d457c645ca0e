import os

import pytest

from deeplstm.errors import InputError
from deeplstm.tasks.files import check_files
from deeplstm.tasks.text import files
from deeplstm.tasks.text.files import progress_of_parts, read_bytes, read_text


@pytest.fixture(params=[1, 2, 3, 5, 1000])
def piece(request, monkeypatch):
    monkeypatch.setattr(files, "PIECE", request.param)
    return request.param


def test_no_character_is_cut_in_two(tmp_path, piece):
    text = "aé漢\U0001f600\r\n\ufeffb\r"
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    assert "".join(read_text(path)) == text
    assert b"".join(read_bytes(path)) == text.encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("aé漢".encode()[:-1], r"is not UTF-8 text \(unexpected end of data at byte 3\)"),
        ("aé".encode() + b"\xff" + b"b", r"is not UTF-8 text \(invalid start byte at byte 3\)"),
        ("é".encode("latin-1") + b"abcdef", r"is not UTF-8 text \(invalid continuation byte at byte 0\)"),
        (b"abcd\xed\xa0\x80", r"at byte 4\)"),  # half of a surrogate pair
        (b"ab\x00c", r"is binary \(a NUL at byte 2\)"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(tmp_path, piece, content, complaint):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        list(read_text(path))
    assert str(path) in str(error.value)
    assert "a network trained with level=byte reads" in str(error.value)


def test_the_place_is_right_in_a_long_file(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("é".encode() * 300_000 + b"\xff")
    with pytest.raises(InputError, match="at byte 600,000"):
        list(read_text(path))


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path):
    empty, fine, pipe = (tmp_path / name for name in ("empty", "fine", "pipe"))
    empty.touch()
    fine.write_text("fine")
    os.mkfifo(pipe)
    check_files([fine])
    with pytest.raises(InputError) as error:
        check_files([tmp_path, fine, empty, tmp_path / "missing", pipe])
    assert str(error.value) == (
        f"{tmp_path} is a folder, but a text file is expected: name the files in it. "
        f"{empty} is empty, but a text file is expected: give one with something in it. "
        f"{tmp_path}/missing cannot be read (No such file or directory): check its name and permissions. "
        f"{pipe} is not a regular file, but a text file is expected: give one with something in it."
    )


def test_no_file_at_all():
    with pytest.raises(InputError, match="No text file was given"):
        check_files([])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_text("a")
    path.chmod(0)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied"):
        check_files([path])


def test_a_file_that_vanishes_is_named(tmp_path):
    with pytest.raises(InputError, match="gone cannot be read"):
        list(read_text(tmp_path / "gone"))


def test_progress_of_parts_counts_towards_the_whole(tmp_path, piece):
    heard = []
    sizes = [3, 0, 7]
    parts = progress_of_parts(lambda *done: heard.append(done), sizes)
    for size, part in zip(sizes, parts, strict=True):
        path = tmp_path / str(size)
        path.write_bytes(b"x" * size)
        list(read_bytes(path, part))
    assert heard[-1] == (10, 10)
    assert heard == sorted(heard)
    assert (3, 10) in heard
    assert progress_of_parts(None, sizes) == [None] * 3
