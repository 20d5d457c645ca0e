from pathlib import Path

import pytest

from deeplstm.training import files
from deeplstm.training.files import write_atomic


def test_writes_and_replaces(tmp_path: Path):
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_has_the_permissions_of_any_new_file(tmp_path: Path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomic(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failure_leaves_the_file_and_nothing_else(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_atomic(path, b"one")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(OSError, match=r"No space left on device: .*file could not be written") as failure:
        write_atomic(path, b"two")
    assert failure.value.errno == 28
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path: Path):
    with pytest.raises(OSError, match=r"No such file or directory: .*file could not be written"):
        write_atomic(tmp_path / "missing" / "file", b"")
