"""`examples/look_inside.py` runs and writes its figures."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).parents[2] / "examples" / "look_inside.py"


def test_it_runs(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("look_inside", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path / "figures", steps=1)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"trace.png", "summary.png", "memory.png"}
    printed = capsys.readouterr().out
    assert "layer 1: LSTMCell(3, 12, forget_bias=1.0), 816 parameters" in printed
    assert "layer 2: memory half-life" in printed
