"""A small trained run, and the command line called as a function."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.small import SHORT, SMALL, TABLE, TEXT
from deeplstm.cli import main


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def deeplstm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Said]:
    """`deeplstm("train", "text", ...)` in an empty folder: its exit status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*tokens: object) -> Said:
        status = main([str(token) for token in tokens])
        return Said(status, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps; not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "text", str(text), "--out", str(out), "--quiet", *SMALL, *SHORT]) == 0
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="session")
def trained_series(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on a table; not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "series"
    assert main(["train", "series", str(table), "--out", str(out), "--quiet", *SMALL, *SHORT]) == 0
    return out


@pytest.fixture
def series(trained_series: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(trained_series, tmp_path / "series"))
