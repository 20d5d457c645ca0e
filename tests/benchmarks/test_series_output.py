from pathlib import Path

from benchmarks.series_output import kind, main

from deeplstm.tasks.series.config import SeriesModel
from deeplstm.tasks.series.model import build
from tasks.series.tables import wave, write


def test_both_kinds_are_trained(tmp_path: Path, capsys):
    found = main(write(tmp_path / "wave.csv", wave(500)), {"steps": 4})
    assert {name: len(errors) for name, errors in found.items()} == {"change": 3, "plain": 3}
    assert min(found["plain"]) > max(found["change"])  # which after four steps still says about "as now"
    assert capsys.readouterr().out.count("\n| ") == 6


def test_the_plain_kind_begins_as_torch_does():
    with kind("plain"):
        assert build(SeriesModel(width=4), 2, (0,)).output.weight.any()
    assert not build(SeriesModel(width=4), 2, (0,)).output.weight.any()
