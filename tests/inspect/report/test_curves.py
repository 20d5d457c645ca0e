"""The page of a model that reads numbers, in a real browser."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deeplstm
from deeplstm.inspect.report.arrays import pack

T = 200


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """`numbers(model, x, ...)`: the data of the page that `deeplstm.report` writes."""

    def data(model: torch.nn.Module, x: Any, **options: Any) -> dict[str, Any]:
        page = deeplstm.report(model, x, tmp_path_factory.mktemp("page") / "page.html", **options)
        found = re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
        return json.loads(found[0])

    return data


@pytest.fixture(scope="module")
def small(numbers) -> dict[str, Any]:
    """Three channels, two layers in both directions, a head; not to be changed."""
    torch.manual_seed(0)
    net = deeplstm.Stack(
        deeplstm.Recurrent(deeplstm.LSTMCell(3, 6), bidirectional=True),
        deeplstm.LSTMCell(12, 5),
        torch.nn.Linear(5, 1),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    t = torch.arange(T) / 10
    x = torch.stack([t.sin(), 100 + t, torch.randn(T)], -1)
    return numbers(net, x, channels=["wave", "rise", "noise"], losses=[3, 2, 1])


def lit(data: dict[str, Any]) -> dict[str, Any]:
    """The same data; unit n of layer 1's forget gate is open at step 10 n alone."""
    data = copy.deepcopy(data)
    values = next(value for value in data["trace"]["layers"][0]["values"] if value["name"] == "forget")
    array = np.zeros((6, T), np.float32)
    array[np.arange(6), 10 * np.arange(6)] = 1
    values["array"] = pack(array)
    return data


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_offline_and_nothing_goes_wrong(scheme, opened, small):
    page = opened(small, scheme=scheme)
    for control in page.page.locator("button:enabled, .segments label, option").all():
        control.evaluate(
            """(one) => { if (one.tagName !== "OPTION") return one.click();
            one.selected = true; one.parentElement.dispatchEvent(new Event("change")); }"""
        )
    for section in ("network", "loss", "curves-scroll", "heat", "saturation", "weights", "memory"):
        page.show(f"#{section}, .{section}")
    assert (page.complaints, page.requests) == ([], [])
    assert page.page.locator("#trouble").is_hidden()
    drawn = page("() => Object.fromEntries(report.views.map((view) => [view.name, view.draws]))")
    assert min(drawn.values()) >= 1
    assert {"curves", "curves-colour", "curves-mark", "here", "strip", "heat", "loss", "memory"} <= set(drawn)
    assert page.page.locator("#text, #expected, #colour-by").count() == 0


def test_both_directions_stand_beside_each_other(opened, small):
    page = opened(small)
    columns = page(
        """() => [...document.querySelectorAll(".network li")].map((column) =>
        [...column.querySelectorAll("h3")].map((name) => name.textContent))"""
    )
    assert columns == [["x"], ["layer 1", "layer 1 reverse"], ["layer 2"], ["Linear"]]
    assert page.page.locator(".arrow").all_inner_texts() == ["3", "12", "5"]


@pytest.mark.parametrize("width", [360, 1280])
def test_arrows_lead_to_both_directions_together(width, opened, small):
    page = opened(small, width=width)
    frame, blocks, arrows = page(
        """() => {
            const beside = document.querySelector(".beside:has(.block + .block)");
            const box = (one) => one.getBoundingClientRect().toJSON();
            const frame = { ...box(beside), style: getComputedStyle(beside).borderStyle };
            const arrows = [...document.querySelectorAll(".arrow")].slice(0, 2);
            return [frame, [...beside.querySelectorAll(".block")].map(box), arrows.map(box)];
        }"""
    )
    assert frame["style"] == "dashed"
    for block in blocks:
        assert frame["left"] < block["left"] < block["right"] < frame["right"]
        assert frame["top"] < block["top"] < block["bottom"] < frame["bottom"]
    before, after = ("top", "bottom") if width == 360 else ("left", "right")
    assert 0 <= frame[before] - arrows[0][after] <= 10
    assert 0 <= arrows[1][before] - frame[after] <= 10


def test_curves_that_look_ahead_say_so(opened, small):
    assert small["memory"]["direction"] == "back or ahead"
    names = [layer["name"] for layer in small["memory"]["layers"]]
    assert names == ["layer 1", "layer 1 reverse, ahead", "layer 2", "whole model", "whole model, ahead"]
    page = opened(small)
    page.show("#memory")
    page.page.locator("#memory").focus()
    page.settle()
    assert page.page.locator("#memory-readout").inner_text().startswith("0 steps back or ahead: layer 1 ")


def test_a_click_chooses_a_step(opened, small):
    page = opened(small)
    page("() => report.change({ step: 0, range: 0 })")
    page.settle()
    box = page.page.locator("#curves-mark").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] * 50.5 / T, box["y"] + 30)
    page.settle()
    assert page.state()["step"] == 50
    assert page.page.locator("#here-title").inner_text() == "step 50"
    numbers = page.page.locator("#input-here tr td:last-child").all_inner_texts()
    assert numbers[:2] == [f"{np.sin(5):.2f}".replace("-", "−"), "105.0"]
    assert page.page.locator("#output-here tr").count() == 1


def test_keys_walk_through_time_units_gates_and_layers(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'input', unit: 3, step: 5 })")
    page.page.locator("#curves-scroll").focus()
    for key, changed in [
        ("ArrowRight", {"step": 6}),
        ("ArrowLeft", {"step": 5}),
        ("ArrowDown", {"unit": 4}),
        ("g", {"value": "forget"}),
        ("l", {"layer": 1}),
        ("End", {"step": T - 1}),
        ("PageUp", {"step": T - 101}),
        ("Home", {"step": 0}),
    ]:
        page.page.keyboard.press(key)
        assert {name: page.state()[name] for name in changed} == changed, key
    page("() => report.change({ layer: 0, value: 'input', unit: 3, step: 1, feature: 'rise' })")
    page.page.wait_for_function("() => document.getElementById('status').textContent.startsWith('step 1.')")
    said = page.page.locator("#status").inner_text()
    assert re.fullmatch(r"step 1. layer 1, unit 3, input 0.\d\d, rise 100.1.", said)


def test_behind_the_curves_are_the_colours_of_the_unit(opened, small):
    page = opened(lit(small))
    for unit in (2, 5):
        page("(unit) => report.change({ layer: 0, value: 'forget', unit, range: 80, step: 0 })", unit)
        page.settle()
        pixels = page.pixels("#curves-colour")
        row = pixels[20, ((np.arange(80) + 0.5) * pixels.shape[1] / 80).astype(int)]
        far = np.abs(row - row[70]).sum(axis=1) > 100
        assert np.flatnonzero(far).tolist() == [10 * unit]
    assert page.page.locator("#legend-title").inner_text() == "layer 1, forget, unit 5"


def test_a_curve_goes_where_its_numbers_go(opened, small):
    page = opened(small)
    page("() => report.change({ range: 0, feature: null })")
    page.settle()
    pixels = page.pixels("#curves-lines")
    height = pixels.shape[0] / 4  # three channels and an output
    dark = pixels.sum(axis=2) > 0  # the light theme's ink; what is not drawn is transparent
    lane = dark[int(height) + 1 : int(2 * height) - 4]
    middle = [np.flatnonzero(lane[:, int(x)]).mean() for x in np.linspace(5, lane.shape[1] - 5, 20)]
    assert (np.diff(middle) < 0).all()  # "rise" rises


def test_the_range_is_the_same_for_curves_and_maps(opened, small):
    page = opened(small)
    page.page.locator("#curves-range").select_option("80")
    page("() => report.change({ step: 150 })")
    page.settle()
    assert page.state()["range"] == 80
    page.show("#heat")
    assert page.page.locator("#range").input_value() == "80"
    page.page.locator("#range").select_option("0")
    page.show("#curves-scroll")
    assert page.page.locator("#curves-range").input_value() == "0"


def test_units_that_track_a_channel(opened, small):
    page = opened(small)
    page("() => report.change({ feature: null })")
    best = next(one for one in small["features"] if one["name"] == "wave")["best"][0]
    page.page.locator(".chip", has_text="wave").click()
    page.settle()
    layers = [layer["name"] for layer in small["trace"]["layers"]]
    state = page.state()
    assert (layers[state["layer"]], state["value"], state["unit"]) == (best["layer"], best["value"], best["unit"])
    assert "Correlation with wave, over this sequence." in page.page.locator("#found").inner_text()


def test_times_are_named(opened, numbers):
    days = [f"day <b>{n}</b>" for n in range(50)]
    page = opened(numbers(deeplstm.GRU(2, 3), torch.randn(50, 1, 2), times=days, title="</script><script>1"))
    page("() => report.change({ step: 7 })")
    page.settle()
    assert page.page.locator("#here-about").inner_text() == "day <b>7</b>"
    page.show("#heat")
    box = page.page.locator("#heat").bounding_box()
    page.page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert page.page.locator("#heat-readout").inner_text().startswith("unit 0 at step 0 (day <b>0</b>): ")
    assert page.complaints == []


@pytest.mark.parametrize("width", [360, 700])
def test_a_narrow_window_scrolls_one_way_only(width, opened, small):
    page = opened(small, width=width)
    assert page("() => document.documentElement.scrollWidth") <= width


def test_everything_has_a_name_and_the_keyboard_reaches_it(opened, small):
    page = opened(small)
    unnamed = page(
        """() => [...document.querySelectorAll("button, input, select, [tabindex='0'], [role=img]")].filter((one) =>
        !(one.ariaLabel || one.textContent.trim() || [...(one.labels ?? [])].some((label) => label.textContent.trim())))
        .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    seen = set()
    for _ in range(90):
        page.page.keyboard.press("Tab")
        seen.add(page("() => document.activeElement.id || document.activeElement.className"))
        if page("() => document.activeElement === document.body"):
            break
    assert {"curves-range", "curves-scroll", "heat", "range", "order", "unit", "chip", "map"} <= seen


def test_hardly_anything(opened, numbers):
    for steps in (1, 2):
        page = opened(numbers(deeplstm.LSTM(1, 1), torch.zeros(steps, 1, 1)))
        for selector in ("#curves-scroll", "#heat", "#saturation", "#weights"):
            page.show(selector)
        assert page.complaints == []


def test_two_thousand_steps_of_512_units_and_32_channels(opened, numbers, tmp_path: Path):
    torch.manual_seed(0)
    data = numbers(deeplstm.LSTM(32, 512), torch.randn(2000, 1, 32).cumsum(0) / 10)
    page = opened(data)
    assert page("() => report.data.steps.count") == 2000
    assert page("() => report.data.trace.layers[0].values.map((one) => one.array.shape)") == [[512, 2000]] * 6
    assert 1_000_000 < (tmp_path / "report.html").stat().st_size < 6_000_000
    draws = lambda: page("() => Object.fromEntries(report.views.map((view) => [view.name, view.draws]))")  # noqa: E731
    before = draws()
    page("() => report.change({ unit: 77 })")
    page.settle()
    drawn = {name for name, count in draws().items() if count > before[name]}
    assert {"curves-colour", "here"} <= drawn
    assert not {"curves", "heat"} & drawn  # neither the 64,000 numbers nor the map
    assert page.complaints == []
