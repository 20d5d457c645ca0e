"""The numbers on a page about a series run, against the network itself."""

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deeplstm
from deeplstm.errors import InputError
from deeplstm.inspect.report import collect
from deeplstm.inspect.report.page import render
from deeplstm.tasks.series import SeriesConfig, SeriesData, SeriesModel, SeriesTraining, load, read_table, train
from deeplstm.tasks.series import report as reports
from deeplstm.tasks.series.report import report
from tasks.series.tables import wave, write

CHOICES = {
    "lstm": (SeriesData(), SeriesModel(layers=2, width=7)),
    "one target": (SeriesData(targets=("b",)), SeriesModel(width=6, cell="gru", before=(4,), after=(5,))),
    "highway": (SeriesData(columns=("b", "a")), SeriesModel(width=6, cell="highway", skip="dense", layers=2)),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs")
    table = write(folder / "wave.csv", wave(400))
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            data, model = CHOICES[name]
            options = SeriesTraining(steps=20, batch_size=4, window=8, threads=1, device="cpu", lr=0.01, log_every=1)
            made[name] = train(
                table, folder / name, SeriesConfig(data=data, model=model, training=options), quiet=True
            ).run
        return made[name]

    return run


def numbers(packed: dict[str, Any]) -> np.ndarray:
    q = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(packed["shape"])
    low, high = (np.broadcast_to(np.array(packed[end], float), len(q))[:, None] for end in ("low", "high"))
    share = q / (packed["levels"] - 1)
    return high * (2 * share - 1) * np.abs(2 * share - 1) if packed["bent"] else low + share * (high - low)


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_shown_is_what_the_network_did(name: str, runs):
    data = report(runs(name))
    network, scaler, _ = load(runs(name))
    rows = np.load(runs(name) / "data/valid.npy")
    assert data["steps"] == {"kind": "numbers", "unit": "row", "first": 2, "count": 39, "pieces": []}
    x = torch.from_numpy(rows)[:, None]
    seen = deeplstm.trace(network, x)
    for layer in data["trace"]["layers"]:
        for value in layer["values"]:
            true = seen[layer["name"]][value["name"]][1:, 0].numpy().T
            assert numbers(value["array"]) == pytest.approx(true, abs=0.04 * max(1.0, float(np.abs(true).max())))
    curves = {one["name"]: one for one in data["features"]}
    own = scaler.own_columns(rows)
    with torch.no_grad():
        expected = scaler.own(network(x)[0][:, 0].numpy())
    for n, column in enumerate(scaler.names):
        assert curves[column]["kind"] == "input"
        assert curves[column]["values"] == pytest.approx(own[1:, n], rel=1e-4, abs=1e-3)
    for n, column in enumerate(scaler.target_columns):
        predicted = curves[f"{column.name}, predicted"]
        assert (predicted["kind"], predicted["beside"]) == ("output", column.name)
        assert predicted["values"] == pytest.approx(expected[:-1, n], rel=1e-4, abs=1e-3)  # of row t, from t - 1
    assert len(curves) == len(scaler.names) + len(scaler.targets)
    links = sum(p.numel() for p in network.core.gates.parameters())
    assert sum(block["parameters"] for block in data["network"]) == network.parameter_counts()["total"] - links
    render(data)


def test_facts_losses_memory_and_the_head(runs):
    data = report(runs("lstm"))
    network, scaler, _ = load(runs("lstm"))
    rows = np.load(runs("lstm") / "data/valid.npy")
    score = reports.score_rows(network, rows, scaler)
    assert data["facts"] == [
        ["parameters", f"{network.parameter_counts()['total']:,}"],
        ["best validation loss", f"{score.mse:.4g}"],
        ["squared error of these 39 rows", f"{score.mse:.4g}"],
        ['saying "as in the row before"', f"{score.naive_mse:.4g}"],
    ]
    assert data["about"] == "LSTM, 2 layers of 7 units, reading rows 2 to 40 of its validation rows"
    assert data["loss"]["label"] == "mean squared error"
    assert data["loss"]["train"]["x"] == list(range(1, 21))
    assert f"with a mean squared error of {score.mse:.4g}." in data["loss"]["about"]
    assert [layer["name"] for layer in data["memory"]["layers"]] == ["layer 1", "layer 2", "whole model"]
    assert (data["network"][0]["name"], data["network"][0]["kind"]) == ("row", "2 columns")
    assert data["notes"] == []
    assert data["expected"] is None


def test_a_table_of_ones_own_is_cut_and_scored(runs, tmp_path: Path):
    table = write(tmp_path / "mine.csv", wave(100, seed=5))
    data = report(runs("lstm"), table, steps=30)
    network, scaler, _ = load(runs("lstm"))
    values = read_table(table, scaler.names).values
    score = reports.score_rows(network, scaler.standard(values[:31]), scaler)
    assert data["steps"]["count"] == 30
    assert data["notes"] == ["Of mine.csv the first 31 rows are read."]
    assert data["facts"][2:] == [
        ["squared error of this table's 30 rows", f"{score.mse:.4g}"],
        ['saying "as in the row before"', f"{score.naive_mse:.4g}"],
    ]
    assert data["about"].endswith("reading rows 2 to 31 of mine.csv")
    assert report(runs("lstm"), table, steps=99)["notes"] == []


def test_more_columns_than_a_page_has_room_for(runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reports, "MOST_INPUTS", 1)
    data = report(runs("one target"), steps=10)
    assert [one["name"] for one in data["features"]] == ["b", "b, predicted"]  # what is predicted comes first
    assert data["notes"] == ["Of 2 columns 1 are shown as curves."]
    data = report(runs("lstm"), steps=10)
    assert data["notes"] == ["Of 2 columns 1 are shown as curves.", "Of 2 targets 1 are shown with what was predicted."]


def test_a_column_that_is_called_as_a_prediction(tmp_path: Path):
    table = tmp_path / "my.csv"
    table.write_text('a,"a, predicted"\n' + "".join(f"{n},{n}\n" for n in range(60)))
    options = SeriesTraining(steps=1, batch_size=2, window=5, threads=1, device="cpu")
    run = train(table, tmp_path / "run", SeriesConfig(model=SeriesModel(width=3), training=options), quiet=True).run
    names = [one["name"] for one in report(run)["features"]]
    assert names == ["a", "a, predicted", "a, predicted'", "a, predicted, predicted"]


def test_a_wide_network_shows_fewer_rows_and_says_so(runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(collect, "TRACE_SIZE", 2500)
    data = report(runs("lstm"))
    count = data["steps"]["count"]
    assert 2 < count < 39
    assert all(len(one["values"]) == count for one in data["features"])
    assert data["notes"] == [
        f"Of its validation rows the first {count + 1} rows are read: a page holds no more of them with all values of all "
        "units."
    ]


def test_what_cannot_be_shown(runs, tmp_path: Path):
    with pytest.raises(InputError, match="steps=0, but a page shows from 1 to 10,000"):
        report(runs("lstm"), steps=0)
    one = write(tmp_path / "one.csv", wave(1))
    with pytest.raises(InputError, match=r"one.csv has 1 row, but a row is predicted from one before it"):
        report(runs("lstm"), one)
    (tmp_path / "other.csv").write_text("a,c\n1,2\n3,4\n")
    with pytest.raises(InputError, match=r"other.csv lacks columns: 'b' is not among them"):
        report(runs("lstm"), tmp_path / "other.csv")
