"""Tables and figures of what was seen: every number in its place; a missing library is named."""

import sys

import polars as pl
import pytest
import torch

from deeplstm import LSTM, GRUCell, LSTMCell, Stack, memory, trace

x = torch.randn(6, 3, 2)


def test_a_row_for_every_number_and_none_beyond_the_lengths():
    seen = trace(Stack(LSTMCell(2, 4), GRUCell(4, 3)), x, lengths=[6, 0, 2])
    frame = seen.to_frame()
    assert frame.columns == ["layer", "name", "step", "row", "unit", "value"]
    assert len(frame) == 8 * (6 * 4 + 4 * 3)
    for layer, name, step, row, unit, value in frame.sample(50, seed=1).iter_rows():
        assert seen[layer][name][step, row, unit].item() == pytest.approx(value)
    counts = frame.group_by("row").len().sort("row")
    assert counts["row"].to_list() == [0, 2]
    part = seen.to_frame(layers=["layer 2"], values=["update"])
    assert len(part) == 8 * 3
    assert part["name"].unique().to_list() == ["update"]


def test_frames_of_a_summary_and_of_a_memory():
    seen = trace(LSTM(2, 4), x)
    frame = seen.summary().to_frame()
    forget = frame.row(by_predicate=pl.col("name") == "forget", named=True)
    assert forget["mean"] == pytest.approx(seen["layer 1"]["forget"].mean().item())
    assert forget["layer"] == "layer 1"
    found = memory(LSTM(2, 4), x, lags=3)
    frame = found.to_frame()
    assert frame.columns == ["layer", "lag", "norm", "error"]
    assert frame.filter(pl.col("layer") == "layer 1")["norm"].to_list() == found.layers["layer 1"].tolist()
    assert frame.filter(pl.col("layer") == "model")["error"].null_count() == 3


def test_a_figure_of_a_trace_shows_the_numbers():
    seen = trace(Stack(LSTMCell(2, 4), GRUCell(4, 3)), x, lengths=[6, 0, 2])
    figure = seen.plot(row=2, values=["forget", "update", "h"])
    maps = {ax.get_title(loc="left"): ax.images[0].get_array() for ax in figure.axes if ax.images}
    assert set(maps) == {"layer 1: forget", "layer 1: h", "layer 2: update", "layer 2: h"}
    torch.testing.assert_close(torch.tensor(maps["layer 2: update"]), seen["layer 2"]["update"][:2, 2].T)
    labelled = trace(LSTM(2, 4), x).plot(labels=list("abcdef"), values=["h"])
    assert [text.get_text() for text in labelled.axes[0].get_xticklabels()] == list("abcdef")


def test_figures_of_a_summary_and_of_a_memory(tmp_path):
    seen = trace(Stack(LSTMCell(2, 4), GRUCell(4, 3)), x, loss=lambda y: y.sum())
    figure = seen.summary().plot()
    titles = [ax.get_title() for ax in figure.axes if ax.axison]
    assert titles == [
        "input",
        "forget",
        "cell",
        "output",
        "reset",
        "update",
        "candidate",
        "memory half-life",
        "gradient of the loss",
    ]
    figure = memory(LSTM(2, 4, bidirectional=True), x, lags=3).plot()
    assert [line.get_label() for line in figure.axes[0].lines] == ["layer 1", "layer 1 reverse", "model", "model ahead"]
    figure.savefig(tmp_path / "memory.png")


def test_bad_input():
    seen = trace(LSTM(2, 4), x)
    with pytest.raises(ValueError, match="plot got row=3, but the batch has rows 0 to 2"):
        seen.plot(row=3)
    with pytest.raises(ValueError, match="plot got 2 labels, but 6 are expected"):
        seen.plot(labels=["a", "b"])
    with pytest.raises(ValueError, match="plot got values forgett, but the trace has input, forget"):
        seen.plot(values=["forgett"])
    with pytest.raises(ValueError, match="a list of names is expected"):
        seen.to_frame(values="forget")
    with pytest.raises(KeyError, match="the trace has no 'layer 7', it has layer 1"):
        seen.to_frame(layers=["layer 7"])


@pytest.mark.parametrize(("package", "method"), [("polars", "to_frame"), ("matplotlib", "plot")])
def test_a_missing_library_is_named(package, method, monkeypatch):
    seen = trace(LSTM(2, 4), x)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{method} needs {package}.*deeplstm\[app\]"):
        getattr(seen, method)()
