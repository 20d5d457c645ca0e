"""The page of a series run, in a real browser: predictions over what came."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplstm.tasks.series import SeriesConfig, SeriesData, SeriesModel, SeriesTraining, train
from deeplstm.tasks.series.report import report
from tasks.series.tables import wave, write

ROWS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two columns, of which b is predicted; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    config = SeriesConfig(
        data=SeriesData(targets=("b",), valid=write(folder / "valid.csv", wave(ROWS + 1, seed=1))),
        model=SeriesModel(width=6),
        training=SeriesTraining(steps=30, batch_size=4, window=20, threads=1, device="cpu", log_every=1),
    )
    return report(train(write(folder / "wave.csv", wave(400)), folder / "a <b> run", config, quiet=True).run)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_offline_and_nothing_goes_wrong(scheme: str, opened, data):
    page = opened(data, scheme=scheme)
    for control in page.page.locator("button:enabled, .segments label, option").all():
        control.evaluate(
            """(one) => { if (one.tagName !== "OPTION") return one.click();
            one.selected = true; one.parentElement.dispatchEvent(new Event("change")); }"""
        )
    for section in ("network", "loss", "curves-scroll", "heat", "saturation", "weights", "memory"):
        page.show(f"#{section}, .{section}")
    assert (page.complaints, page.requests) == ([], [])
    assert page.page.locator("#trouble").is_hidden()
    assert page.page.locator("h1").inner_text() == "a <b> run"
    assert page.page.locator(".network h3").all_inner_texts() == ["row", "layer 1", "output"]
    assert "dashed what the model expected there" in page.page.locator("#text-title + p").inner_text()


def test_a_prediction_lies_in_the_lane_of_what_came(opened, data):
    page = opened(data)
    page("() => report.change({ range: 0, feature: null })")
    page.settle()
    pixels = page.pixels("#curves-lines")
    middle = len(pixels) // 2  # two lanes, not three
    accent = (pixels[..., 1] - pixels[..., 0] > 60) & (pixels[..., 2] - pixels[..., 0] > 60)
    assert not accent[:middle].any()  # a is read and not predicted
    columns = accent[middle:].any(axis=0)
    assert columns.mean() > 0.2  # dashed
    # where the prediction is drawn tells what it is
    values = {one["name"]: np.array(one["values"]) for one in data["features"]}
    both = np.concatenate([values["b"], values["b, predicted"]])
    steps = np.flatnonzero(columns) * ROWS // accent.shape[1]
    heights = [np.flatnonzero(accent[middle:, x]).mean() for x in np.flatnonzero(columns)]
    predicted = (values["b, predicted"][steps] - both.min()) / np.ptp(both)
    assert np.corrcoef(predicted, heights)[0, 1] < -0.95


def test_rows_are_counted_as_in_the_table(opened, data):
    page = opened(data)
    page("() => report.change({ step: 0, feature: 'b' })")
    page.settle()
    assert page.page.locator("#here-title").inner_text() == "row 2"
    assert page.page.locator("#here-about").inner_text() == f"rows are 2 to {ROWS + 1}"
    first = wave(ROWS + 1, seed=1)[1]
    shown = [
        float(text.replace("−", "-")) for text in page.page.locator("#input-here tr td:last-child").all_inner_texts()
    ]
    assert shown == pytest.approx(first, abs=0.06)
    assert page.page.locator("#output-here caption").inner_text() == "What it expected here"
    assert page.page.locator("#output-here tr").count() == 1
    assert page.page.locator("#output-here tr").inner_text().startswith("b")
    page.page.wait_for_function("() => document.getElementById('status').textContent.startsWith('row 2.')")
    page.show("#heat")
    box = page.page.locator("#heat").bounding_box()
    page.page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert page.page.locator("#heat-readout").inner_text().startswith("unit 0 at row 2: ")


def test_a_narrow_window_scrolls_one_way_only(opened, data, tmp_path: Path):
    page = opened(data, width=360)
    assert page("() => document.documentElement.scrollWidth") <= 360
