"""Tables and figures of what was seen: every number in its place; a missing library is named."""

import sys
from itertools import pairwise

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


def shown_ticks(axis) -> list[float]:
    low, high = sorted(axis.get_view_interval())
    return [place for place in axis.get_majorticklocs() if low <= place <= high]


@pytest.mark.parametrize("steps", [1, 6, 20])
def test_a_trace_has_ticks_at_whole_steps_and_names_them_below_every_column(steps):
    seen = trace(Stack(LSTMCell(2, 3), GRUCell(3, 2)), torch.randn(steps, 3, 2))
    figure = seen.plot()
    maps = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.images}
    assert [name for name, ax in maps.items() if ax.get_xlabel() == "step"] == ["layer 1: h", "layer 2: candidate"]
    for ax in maps.values():
        for axis in (ax.xaxis, ax.yaxis):
            places = shown_ticks(axis)
            assert places
            assert all(place == round(place) for place in places)


def test_every_line_of_a_summary_has_a_name():
    seen = trace(Stack(LSTMCell(2, 4), GRUCell(4, 3)), x, loss=lambda y: y.sum())
    figure = seen.summary().plot()
    (legend,) = figure.legends
    names = {text.get_text(): mark.get_color() for text, mark in zip(legend.texts, legend.legend_handles, strict=True)}
    drawn = {
        line.get_label(): line.get_color() for ax in figure.axes for line in ax.lines if line.get_label()[0] != "_"
    }
    assert names == drawn
    assert set(names) == {"layer 1", "layer 2"}


@pytest.mark.parametrize("bias", [(0, 0.5), (-2, 1), (-1, 4), (-1, 11)], ids=str)
def test_the_ticks_of_half_lives_keep_clear_of_each_other(bias):
    net = LSTM(2, 64)
    with torch.no_grad():
        net.bias_ih_l0[64:128] = torch.linspace(*bias, 64)
    figure = trace(net, x).summary().plot()
    figure.canvas.draw()
    ax = next(ax for ax in figure.axes if ax.get_title() == "memory half-life")
    low, high = ax.get_xlim()
    labels = [
        tick.label1
        for tick in [*ax.xaxis.get_major_ticks(), *ax.xaxis.get_minor_ticks()]
        if tick.label1.get_text() and low <= tick.get_loc() <= high
    ]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert boxes[0].x0 < ax.bbox.x0 + ax.bbox.width / 2  # not all of them at one end
    assert all(left.x1 + 3 < right.x0 for left, right in pairwise(boxes))


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
