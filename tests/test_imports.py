"""Imports run one way, and names come without what they do not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deeplstm

PACKAGE = Path(deeplstm.__file__).parent
LAYERS = [
    "errors",
    "cells",
    "recurrence",
    "nn",
    "inspect",
    "stream",
    "testing",
    "training",
    "tasks",
    "bench",
    "cli",
]  # what stands later may import what stands earlier
PUBLIC = LAYERS.index("stream")  # where `import deeplstm` stands: its names come from here and below
MODULES = sorted(path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))


def imported_by(path, text):
    """The full name of every module of the package that a file imports, wherever in the file it does."""
    package = [*path.with_suffix("").parts[:-1]]
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names += [".".join([*module, alias.name]) for alias in node.names]
    return [name for name in names if name.split(".")[0] == "deeplstm"]


def place(parts):
    """Where a module stands: a number for its folder, or for the top of the package."""
    if len(parts) < 2 or parts[1] not in LAYERS:
        return PUBLIC
    return LAYERS.index(parts[1])


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_one_way(path):
    parts = path.with_suffix("").parts
    if parts[1:] in (
        ("__init__",),
        ("__main__",),
    ):  # the first names what is public, the second starts the command line
        return
    assert parts[1] in LAYERS, f"{path} stands in no layer: add it to LAYERS, and to the picture of the design"
    wrong = [
        name
        for name in imported_by(path, (PACKAGE.parent / path).read_text(encoding="utf-8"))
        if place(name.split(".")) > place(parts)
    ]
    assert not wrong, f"{path} imports {wrong}"


def test_the_reader_of_imports_sees_every_form():
    text = (
        "import torch, deeplstm.nn\nfrom . import a\nfrom .. import errors\ndef f():\n    from ..nn.lstm import LSTM\n"
    )
    found = imported_by(Path("deeplstm/cells/gru.py"), text)
    assert found == ["deeplstm.nn", "deeplstm.cells.a", "deeplstm.errors", "deeplstm.nn.lstm.LSTM"]
    assert place(("deeplstm", "nn", "lstm", "LSTM")) > place(("deeplstm", "cells", "gru"))
    assert place(("deeplstm", "errors")) < place(("deeplstm", "cells", "gru")) < place(("deeplstm", "Stack"))


def loaded_after(statement):
    """The top-level modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


HEAVY = {"torch", "lightning", "numpy", "matplotlib", "polars", "plotly"}


@pytest.mark.parametrize(
    "statement", ["import deeplstm", "import deeplstm.cli", "import deeplstm.errors; deeplstm.__version__"]
)
def test_a_light_import_stays_light(statement):
    loaded = loaded_after(statement)
    assert "deeplstm" in loaded
    assert not loaded & HEAVY


def test_a_public_name_needs_torch_and_nothing_of_the_application():
    loaded = loaded_after("import deeplstm; deeplstm.LSTM; deeplstm.Stack; deeplstm.scan")
    assert "torch" in loaded
    assert not loaded & {"lightning", "cyclopts", "matplotlib", "rich", "polars", "plotly"}


def stub_names():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    return [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_every_name_of_the_stub_resolves_to_what_it_says():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                value = getattr(deeplstm, alias.name)
                assert alias.asname == alias.name
                if node.module is None:
                    assert value.__name__ == f"deeplstm.{alias.name}"
                else:
                    assert value.__module__ == f"deeplstm.{node.module}"
    assert sorted(stub_names()) == sorted(deeplstm.__all__)
    assert set(stub_names()) <= set(dir(deeplstm))


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="deeplstm"):
        deeplstm.LTSM  # noqa: B018


def test_there_is_a_version():
    assert deeplstm.__version__.count(".") == 2
