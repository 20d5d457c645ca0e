"""The scripts for published results: what they say where data is missing, and that an interrupted one goes on."""

from pathlib import Path

import pytest
from benchmarks.results.data import VARIABLE, data_files

from deeplstm import InputError


def test_the_folder_of_data_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"DEEPLSTM_DATA is not set; a folder with set/a.txt is expected.*from there"):
        data_files("set/a.txt", source="there")


def test_every_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("here")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(
        InputError, match=r"has no a.txt, c.txt; a folder with a.txt, b.txt, c.txt is expected.*from there"
    ):
        data_files("a.txt", "b.txt", "c.txt", source="there")
    assert data_files("b.txt", source="there") == [tmp_path / "b.txt"]
