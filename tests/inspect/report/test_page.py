"""The page in a real browser: what is asked for, what is drawn, what clicks and keys do."""

import copy
import re

import numpy as np
import pytest

from deeplstm.errors import InputError
from deeplstm.inspect.report.arrays import pack
from deeplstm.inspect.report.page import render

SECTIONS = ["network", "loss", "text", "heat", "saturation", "weights", "memory"]


def diagonal(data, count):
    """The same data, with values that are known at sight: unit n of layer 1's forget gate is open at step n alone."""
    data = copy.deepcopy(data)
    values = next(value for value in data["trace"]["layers"][0]["values"] if value["name"] == "forget")
    steps = data["steps"]["count"]
    values["array"] = pack(np.eye(count, steps, dtype=np.float32))
    return data


def test_it_opens_offline_and_nothing_goes_wrong(opened, small):
    page = opened(small)
    for control in page.page.locator("button:enabled, .segments label, option").all():
        control.evaluate(
            """(one) => { if (one.tagName !== "OPTION") return one.click();
            one.selected = true; one.parentElement.dispatchEvent(new Event("change")); }"""
        )
    for section in SECTIONS:
        page.show(f"#{section}, .{section}")
    page.page.mouse.move(600, 400)
    page.settle()
    assert page.complaints == []
    assert page.requests == []
    assert page.page.locator("#trouble").is_hidden()
    drawn = page("() => Object.fromEntries(report.views.map((view) => [view.name, view.draws]))")
    assert min(drawn.values()) >= 1
    assert {
        "text",
        "here",
        "strip",
        "heat",
        "heat-mark",
        "loss",
        "memory",
        "map forget",
        "saturation forget",
        "weights forget",
    } <= set(drawn)


def test_nothing_in_the_file_points_elsewhere(small):
    page = render(small)
    assert not re.search(r"""(src|href)\s*=\s*["']?+(?!#|data:)|@import|url\(|https?://""", page)


def test_the_text_stands_there_as_it_was(opened, small):
    page = opened(small)
    shown = page("() => document.getElementById('text').textContent")
    assert shown == "".join(small["steps"]["pieces"])


def test_a_click_chooses_a_character(opened, small):
    page = opened(small)
    page.page.locator("#text span").nth(7).click()
    page.settle()
    assert page.state()["step"] == 7
    assert page.page.locator("#here-title").inner_text() == small["steps"]["pieces"][7]
    assert page.page.locator("#text .at").get_attribute("data-step") == "7"


def test_what_the_model_expected(opened, small):
    page = opened(small)
    step, expected = 11, small["expected"]
    page("(step) => report.change({ step })", step)
    page.settle()
    rows = page.page.locator("#expected tr:visible")
    likeliest = expected["top"][step]
    actual = expected["actual"][step]
    assert rows.count() == 5 + (actual not in [symbol for symbol, _ in likeliest])
    names = {" ": "␣", "\n": "↵", "\t": "⇥"}
    symbol = expected["symbols"][likeliest[0][0]]
    assert rows.first.locator("td").first.inner_text() == names.get(symbol, symbol)
    came = expected["symbols"][actual]
    assert page.page.locator("#expected tr.it td").first.inner_text() == names.get(came, came)


def test_keys_walk_through_text_units_gates_and_layers(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'input', unit: 3, step: 5 })")
    page.page.locator("#text").focus()
    for key, changed in [
        ("ArrowRight", {"step": 6}),
        ("ArrowLeft", {"step": 5}),
        ("ArrowLeft", {"step": 4}),
        ("ArrowDown", {"unit": 4}),
        ("ArrowUp", {"unit": 3}),
        ("g", {"value": "forget"}),
        ("Shift+G", {"value": "input"}),
        ("l", {"layer": 1}),
        ("l", {"layer": 0}),
        ("End", {"step": small["steps"]["count"] - 1}),
        ("ArrowRight", {"step": small["steps"]["count"] - 1}),
        ("PageUp", {"step": small["steps"]["count"] - 101}),
        ("Home", {"step": 0}),
        ("ArrowLeft", {"step": 0}),
    ]:
        page.page.keyboard.press(key)
        assert {name: page.state()[name] for name in changed} == changed, key
    page.page.locator("#heat").focus()
    page.page.keyboard.press("ArrowDown")
    assert page.state()["unit"] == 4


def test_the_chosen_step_is_said(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'input', unit: 3, step: 1 })")
    page.page.wait_for_function("() => document.getElementById('status').textContent.startsWith('character 2, e.')")
    assert "layer 1, unit 3, input 0." in page.page.locator("#status").inner_text()


def test_the_text_has_the_colours_of_the_unit(opened, small):
    page = opened(diagonal(small, 9))
    for unit in (2, 6):
        page("(unit) => report.change({ layer: 0, value: 'forget', unit, colour: 'unit' })", unit)
        page.settle()
        backgrounds = page(
            "() => [...document.querySelectorAll('#text span')].map((one) => getComputedStyle(one).backgroundColor)"
        )
        others = {colour for step, colour in enumerate(backgrounds) if step != unit}
        assert len(others) == 1  # all shut
        assert backgrounds[unit] not in others  # open


def test_stronger_values_have_stronger_colours(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 1, value: 'h', unit: 4, colour: 'unit' })")
    page.settle()
    values, backgrounds = page(
        """async () => { const packed = report.data.trace.layers[1].values.find((v) => v.name === "h").array;
        const t = await report.unpack(packed);
        return [Array.from({length: t.columns}, (_, n) => t.at(4, n)),
                [...document.querySelectorAll('#text span')].map((one) => getComputedStyle(one).backgroundColor)]; }"""
    )
    reds = [int(re.findall(r"\d+", one)[0]) - int(re.findall(r"\d+", one)[2]) for one in backgrounds]
    ranks = [np.argsort(np.argsort(column)) for column in (values, reds)]
    assert np.corrcoef(ranks)[0, 1] > 0.98  # from blue to orange


def test_surprise_is_a_colour_too(opened, small):
    page = opened(small)
    before = page("() => document.querySelector('#text').innerHTML")
    page.page.locator("#colour-by label", has_text="surprise").click()
    page.settle()
    assert page.page.locator("#legend-title").inner_text() == "Surprise, in bits"
    assert page("() => document.querySelector('#text').innerHTML") != before


def test_the_map_shows_every_unit_at_every_step(opened, small):
    count = 9
    page = opened(diagonal(small, count))
    page("() => report.change({ layer: 0, value: 'forget', range: 80, step: 0 })")
    page.show("#heat")
    pixels = page.pixels("#heat-image")
    height, width = pixels.shape[:2]
    at = lambda unit, step: pixels[int((unit + 0.5) * height / count), int((step + 0.5) * width / 80)]  # noqa: E731
    for unit in range(count):
        for step in range(count):
            lit = abs(at(unit, step) - at(0, 40)).sum() > 100
            assert lit == (unit == step), (unit, step)


def test_a_click_on_the_map_chooses_unit_and_step(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'forget', unit: 0, step: 0, range: 80 })")
    page.show("#heat")
    box = page.page.locator("#heat").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] * 20.5 / 80, box["y"] + box["height"] * 7.5 / 9)
    assert (page.state()["unit"], page.state()["step"]) == (7, 20)
    page.page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert page.page.locator("#heat-readout").inner_text().startswith("unit 0 at character ")


def test_units_in_the_order_of_their_means(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'forget', order: 'mean' })")
    page.show("#heat")
    rows = page.pixels("#heat-image").mean(axis=1)
    violet = (rows[:, 2] - rows[:, 1])[np.linspace(20, len(rows) - 20, 9).astype(int)]
    assert (np.diff(violet) <= 1).all()  # the most open gate on top


def test_small_maps_choose_the_gate_and_the_map_changes(opened, small):
    page = opened(small)
    page.show("#maps")
    page.page.locator("#maps .map", has_text="input").click()
    page.settle()
    before = page.pixels("#heat-image")
    page.page.locator("#maps .map", has_text="output").click()
    page.settle()
    assert page.state()["value"] == "output"
    assert page.page.locator("#maps [aria-pressed=true]").inner_text().strip() == "output"
    assert (page.pixels("#heat-image") != before).any()


def test_controls_and_diagram_choose_layer_value_and_unit(opened, small):
    page = opened(small)
    page.page.locator("#layers label").first.click()
    page.page.locator("#values label", has_text="output").click()
    page.page.locator("#unit").fill("5")
    assert {**page.state(), "layer": 0, "value": "output", "unit": 5} == page.state()
    page.page.locator("#unit-more").click()
    page.page.locator("#unit-less").click()
    page.page.locator("#unit-less").click()
    assert page.state()["unit"] == 4
    page.page.locator("#unit").fill("99")
    page.page.locator("#unit").blur()
    assert (page.state()["unit"], page.page.locator("#unit").input_value()) == (8, "8")
    page.page.locator(".gates button[data-layer='layer 2'][data-value=forget]").click()
    page.settle()
    assert (page.state()["layer"], page.state()["value"]) == (1, "forget")
    assert page.page.locator(".gates [aria-pressed=true]").count() == 1
    assert page.page.locator(".block.chosen h3").inner_text() == "layer 2"


def test_units_that_track_something(opened, small):
    page = opened(small)
    for feature in small["features"]:
        chip = page.page.locator(".chip", has_text=feature["name"])
        assert chip.is_enabled() == bool(feature["best"])
    best = next(one for one in small["features"] if one["name"] == "line length")["best"]
    chip = page.page.locator(".chip", has_text="line length")
    if chip.get_attribute("aria-pressed") == "true":
        chip.click()
        page.settle()
    chip.click()
    page.settle()
    chosen = lambda: {**page.state(), "layer": f"layer {page.state()['layer'] + 1}"}  # noqa: E731
    assert {name: chosen()[name] for name in ("layer", "value", "unit")} == {
        k: best[0][k] for k in ("layer", "value", "unit")
    }
    page.page.locator("#found button").nth(2).click()
    assert {name: chosen()[name] for name in ("layer", "value", "unit")} == {
        k: best[2][k] for k in ("layer", "value", "unit")
    }
    page.settle()
    assert page.page.locator("#found [aria-current=true]").count() == 1
    chip.click()
    page.settle()
    assert page.page.locator("#found").is_hidden()


def test_dots_and_weights_choose_units(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'input', unit: 0 })")
    page.show("#weights")
    weights = page.page.locator("#weights .map", has_text="forget").locator("canvas")
    weights.scroll_into_view_if_needed()
    height = weights.bounding_box()["height"]
    weights.click(position={"x": 50, "y": height * 6.5 / 9})
    assert (page.state()["value"], page.state()["unit"]) == ("forget", 6)
    gate = next(one for one in small["saturation"] if (one["layer"], one["gate"]) == ("layer 1", "output"))
    unit = max(range(9), key=lambda n: gate["right"][n])
    page.show("#saturation")
    canvas = page.page.locator("#saturation .map", has_text="output").locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x = 44 + gate["left"][unit] / 1000 * (box["width"] - 58)
    y = box["height"] - 42 - gate["right"][unit] / 1000 * (box["height"] - 54)
    canvas.click(position={"x": x, "y": y})
    assert page.state()["value"] == "output"
    assert (gate["left"][page.state()["unit"]], gate["right"][page.state()["unit"]]) == (
        gate["left"][unit],
        gate["right"][unit],
    )


def test_curves_are_read_under_the_pointer(opened, small):
    page = opened(small)
    page.show("#loss")
    box = page.page.locator("#loss").bounding_box()
    page.page.mouse.move(box["x"] + 58 + (box["width"] - 70) * 0.66, box["y"] + 100)
    page.settle()
    assert page.page.locator("#loss-readout").inner_text() == "step 3: training 2.500, validation 2.500"


def written(page, selector):
    """What is drawn as letters on a canvas when it is drawn anew, with the places."""
    page.show(selector)
    page(
        """() => { window.texts = []; const draw = window.draw ??= CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (words, x, y, ...more) {
            window.texts.push([this.canvas.id || "picture", String(words), x, y]); draw.call(this, words, x, y, ...more); };
        for (const view of report.views) view.dirty.add("all");
        report.change({ step: report.state.step ? 0 : 1 }); }"""
    )
    page.settle()
    return page("() => window.texts")


def test_the_map_has_axes_with_names_and_numbers(opened, make):
    page = opened(make("abcdefghij" * 20, width=9))
    texts = written(page, "#heat")
    assert [words for canvas, words, *_ in texts if canvas == "heat-units"] == [*map(str, range(9)), "unit"]
    *numbers, name = [(words, x) for canvas, words, x, _ in texts if canvas == "heat-steps"]
    assert name[0] == "character"
    width = page("() => document.getElementById('heat-steps').clientWidth")
    for number, x in numbers[:-1]:  # the last keeps clear of the edge
        assert x == pytest.approx((int(number) - 0.5) / 200 * width)  # counted from 1, as everywhere on the page
    page("() => report.change({ order: 'mean', layer: 0, value: 'forget' })")
    units = [words for canvas, words, *_ in written(page, "#heat") if canvas == "heat-units"]
    assert sorted(units[:-1]) == [*map(str, range(9))]  # the units where they stand now
    assert units[-1] == "unit, greatest mean on top"


def test_saturation_has_a_scale(opened, small):
    page = opened(small)
    page.show("#saturation")
    words = [words for _, words, *_ in written(page, "#saturation")]
    for wanted in ("0", "0.5", "1"):
        assert words.count(wanted) >= 2
    assert {"below 0.1, share of steps", "above 0.9, share of steps"} <= set(words)


def test_a_curve_that_leaves_the_picture_says_how_high_it_goes(opened, make, small):
    curve = {"x": [1, 2, 3, 4], "y": [9.876, 3.0, 2.5, 2.2]}
    loss = {"about": "It fell.", "label": "nats", "top": 3.0, "train": curve, "valid": {"x": [], "y": []}}
    assert "↑ up to 9.88" in [words for _, words, *_ in written(opened({**small, "loss": loss}), "#loss")]
    assert not any("↑" in words for _, words, *_ in written(opened(small), "#loss"))


@pytest.mark.parametrize("width", [360, 1280])
def test_every_curve_has_its_name_beside_the_others(width, opened, small):
    names = ["layer 1", "layer 1 reverse, ahead", "layer 2", "whole model", "whole model, ahead"]
    memory = {**small["memory"], "layers": [{"name": name, "norms": [1, 0.5, 0.1]} for name in names]}
    page = opened({**small, "memory": memory}, width=width)
    texts = [text[1:] for text in written(page, "#memory") if text[0] == "memory"]
    long = page(
        "(names) => names.map((n) => document.querySelector('#memory').getContext('2d').measureText(n).width)", names
    )
    boxes = [(x - long[names.index(name)], x, y) for name, x, y in texts if name in names]
    boxes += [(x, x + 30, y) for words, x, y in texts if words == "norm"]
    assert len(boxes) == 6
    assert min(left for left, *_ in boxes) >= 0
    for n, (left, right, y) in enumerate(boxes):
        assert not any(a < right and left < b and abs(y - other) < 14 for a, b, other in boxes[:n])


def test_curves_are_read_with_the_keys(opened, small):
    page = opened(small)
    for chart, first, second in [
        ("loss", "step 1: training 4.000, validation 4.000", "step 2: training 3.000, validation 3.000"),
        ("memory", "0 characters back: layer 1 1.0e+0", "1 character back: layer 1 1.0e-1"),
    ]:
        page.show(f"#{chart}")
        canvas, readout = page.page.locator(f"#{chart}"), page.page.locator(f"#{chart}-readout")
        still = page.pixels(f"#{chart}")
        canvas.focus()
        for key, wanted in [(None, first), ("ArrowRight", second), ("ArrowLeft", first), ("ArrowLeft", first)]:
            if key:
                page.page.keyboard.press(key)
            page.settle()
            assert readout.inner_text() == wanted
            assert canvas.get_attribute("aria-valuetext") == wanted
        assert (page.pixels(f"#{chart}") != still).any()  # the line at the reading point
        page.page.keyboard.press("End")
        page.settle()
        assert canvas.get_attribute("aria-valuenow") == canvas.get_attribute("aria-valuemax")
        canvas.blur()
        page.settle()
        assert (page.pixels(f"#{chart}") == still).all()
    assert page.page.locator("#memory-readout").inner_text() == "2 characters back: layer 1 none"
    assert page.complaints == []


def test_a_value_from_another_step_says_from_which(opened, small):
    loss = copy.deepcopy(small["loss"])
    loss["valid"] = {"x": [4], "y": [2.2]}
    page = opened({**small, "loss": loss})
    page.show("#loss")
    page.page.locator("#loss").focus()
    page.settle()
    assert page.page.locator("#loss-readout").inner_text() == "step 1: training 4.000, validation 2.200 (at 4)"


# --- light, dark, narrow, keyboard


def luminance(colour):
    channels = np.array([int(one) for one in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_and_every_letter_can_be_read(scheme, opened, small):
    page = opened(small, scheme=scheme)
    background = page("() => getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.1) == (scheme == "dark")
    letters = page("() => getComputedStyle(document.getElementById('text')).color")
    for kind in ("signed", "unsigned"):
        for colour in page(f"() => report.colours().{kind}.css"):
            assert contrast(letters, colour) >= 4.5
    for selector in ("h1", ".lead", ".readout", ".chip", ".block p", "kbd", "caption", ".dim"):
        colour, behind = page(
            """(s) => { let one = document.querySelector(s); const colour = getComputedStyle(one).color;
            for (;; one = one.parentElement) { const behind = getComputedStyle(one).backgroundColor;
            if (behind !== "rgba(0, 0, 0, 0)") return [colour, behind]; } }""",
            selector,
        )
        assert contrast(colour, behind) >= 4.5, selector


def test_the_switch_changes_page_and_drawings(opened, small):
    page = opened(small, scheme="light")
    page("() => report.change({ layer: 0, value: 'h' })")
    page.show("#heat")
    light = page.pixels("#heat-image").mean()
    page.page.locator("#theme label", has_text="Dark").click()
    page.show("#heat")
    assert luminance(page("() => getComputedStyle(document.body).backgroundColor")) < 0.1
    assert page.pixels("#heat-image").mean() < light - 60
    page.page.locator("#theme label", has_text="Auto").click()
    page.settle()
    assert luminance(page("() => getComputedStyle(document.body).backgroundColor")) > 0.8


@pytest.mark.parametrize("width", [360, 700])
def test_a_narrow_window_scrolls_one_way_only(width, opened, small):
    page = opened(small, width=width)
    assert page("() => document.documentElement.scrollWidth") <= width


CROSSINGS = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const box = (one) => {
        const range = document.createRange(); // of the letters, where there are any: an element may be wider
        range.selectNodeContents(one);
        return (one.textContent ? range : one).getBoundingClientRect();
    };
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const others = all(".carried, .arrow span:not(:empty), .loop path").map(box);
    return all(".arrow").map((arrow) => arrow.getBoundingClientRect())
        .flatMap((arrow) => others.filter((other) => meet(arrow, other))).length;
}"""


@pytest.mark.parametrize("width", [360, 700, 860, 861, 1280])
def test_no_arrow_of_the_diagram_runs_through_letters_or_loops(width, opened, small):
    assert opened(small, width=width)(CROSSINGS) == 0


def test_everything_that_can_be_used_has_a_name_and_the_keyboard_reaches_it(opened, small):
    page = opened(small)
    unnamed = page(
        """() => [...document.querySelectorAll("button, input, select, [tabindex='0'], [role=img]")].filter((one) =>
        !(one.ariaLabel || one.textContent.trim() || [...(one.labels ?? [])].some((label) => label.textContent.trim())))
        .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    seen, unseen = set(), set()
    for _ in range(90):
        page.page.keyboard.press("Tab")
        name, outline = page(
            """() => { const one = document.activeElement, holder = one.closest(".segments label") ?? one;
            return [one.id || one.name || one.className || one.textContent, getComputedStyle(holder).outlineStyle]; }"""
        )
        if page("() => document.activeElement === document.body"):
            break  # behind the last one
        if outline != "solid":
            unseen.add(name)
        seen.add(name)
    assert page("() => document.activeElement === document.body"), "90 steps do not get through the page"
    assert {
        "theme",
        "layer",
        "value",
        "unit",
        "unit-less",
        "unit-more",
        "chip",
        "text",
        "heat",
        "range",
        "order",
        "map",
        "loss",
        "memory",
    } <= seen
    assert unseen == set()  # the focus can be seen everywhere


def test_radio_buttons_take_arrow_keys(opened, small):
    page = opened(small)
    page("() => report.change({ layer: 0, value: 'input' })")
    page.settle()
    page.page.locator("#values input:checked").focus()
    page.page.keyboard.press("ArrowRight")
    assert page.state()["value"] == "forget"


# --- texts that mean harm


EVIL = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<!--<script>",
    "{{ 7 * 7 }} ${7 * 7} &lt; &amp; \\u003c \u2028 ' \" `",
]


def test_a_text_with_code_in_it_is_a_text(opened, make):
    data = make("\n".join(EVIL))
    data["title"], data["about"] = EVIL[0], EVIL[1]
    data["notes"] = [EVIL[0]]
    data["facts"] = [[EVIL[1], EVIL[0]]]
    data["expected"]["symbols"] = [EVIL[n % 3] for n in range(len(data["expected"]["symbols"]))]
    data["network"][0]["name"] = data["network"][0]["kind"] = EVIL[0]
    for layer, name in zip(data["trace"]["layers"], EVIL, strict=False):
        layer["values"][0]["name"] = name
    page = opened(data)
    page("() => report.change({ layer: 0, step: 20, value: report.data.trace.layers[0].values[0].name })")
    page.settle()
    assert page("() => window.hacked") is None
    assert page("() => document.getElementById('text').textContent") == "\n".join(EVIL)
    assert page("() => document.querySelector('h1').textContent") == EVIL[0]
    assert page("() => [document.scripts.length, document.images.length]") == [2, 0]
    assert page.complaints == []
    assert page.requests == []


def test_no_code_but_the_pages_own_runs(opened, small):
    page = opened(small)
    refused = []
    page.page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    page(
        """() => { const one = document.createElement("script");
        one.textContent = "window.hacked = 1"; document.body.append(one);
        document.body.insertAdjacentHTML("beforeend", "<img src='https://example.org/x.png'>"); }"""
    )
    page.page.wait_for_timeout(100)
    assert page("() => window.hacked") is None
    assert refused == [("https://example.org/x.png", "csp")]
    assert len(page.complaints) == 2  # the browser says what it refused
    assert all("Content Security Policy" in complaint for complaint in page.complaints)


# --- large and tiny


def test_two_thousand_steps_of_512_units(opened, make, tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list('abcdefgh (\n"#'), 2000))
    page = opened(make(text, width=512, layers=1))
    size = (tmp_path / "report.html").stat().st_size
    assert page("() => report.data.steps.count") == 2000
    assert page("() => report.data.trace.layers[0].values.map((one) => one.array.shape)") == [[512, 2000]] * 6
    assert 1_000_000 < size < 6_000_000
    page.show("#text")
    draws = lambda: page("() => Object.fromEntries(report.views.map((view) => [view.name, view.draws]))")  # noqa: E731
    before = draws()
    page("() => report.change({ unit: 77 })")
    page.settle()
    drawn = {name for name, count in draws().items() if count > before[name]}
    assert {"text", "here"} <= drawn <= {"controls", "tracks", "text", "here", "strip", "heat-mark"}  # no map
    assert page("() => document.querySelectorAll('*').length") < 2600  # the characters, and little else
    longest = page(
        """async () => { let longest = 0; const next = () => new Promise(requestAnimationFrame);
        for (let unit = 0; unit < 20; unit++) {
            const begin = await next(); report.change({ unit }); await next();
            longest = Math.max(longest, await next() - begin);
        }
        return longest; }"""
    )
    assert longest < 2000  # milliseconds for two frames; a page that hangs takes far longer
    assert page.complaints == []


@pytest.mark.parametrize("text", ["a", "ab", "aaaa"])
def test_a_text_of_hardly_anything(text, opened, make):
    page = opened(make(text, width=1, layers=1, loss=None, memory=None))
    for selector in ("#text", "#heat", "#saturation", "#weights"):
        page.show(selector)
    assert page.complaints == []


def test_a_page_that_would_be_too_large(small):
    data = {**small, "notes": ["x" * 6_000_001]}
    with pytest.raises(InputError, match=r"The report would have 12,\d+,\d+ bytes, more than 6,000,000"):
        render(data)


def test_an_array_that_cannot_be_read_is_said(opened, small):
    data = copy.deepcopy(small)
    for value in data["trace"]["layers"][0]["values"]:
        value["array"]["data"] = value["array"]["data"][:-8]
    page = opened({**data, "start": {"step": 0}})
    page("() => report.change({ layer: 0, value: 'h' })")
    page.page.locator("#trouble").wait_for(state="visible")
    assert "cannot be read" in page.page.locator("#trouble").inner_text()
