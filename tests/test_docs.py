"""The docs: every Python block runs, every public name has an entry, every link leads somewhere."""

import re
from pathlib import Path

import pytest

import deeplstm

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPLSTM_BACKENDS")  # as a reader has it
    namespace = {"__name__": "__main__"}
    for n, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, Python block {n + 1}", "exec"), namespace)


def test_every_public_name_has_an_entry():
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert [name for name in deeplstm.__all__ if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8"))
    links += re.findall(r'src="(?!https?://)([^"]+)"', page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
