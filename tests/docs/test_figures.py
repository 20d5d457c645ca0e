"""The figures of docs/how-it-works.md: what the page shows is what the project draws, and it can be read."""

import importlib
import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib.colors import to_rgb

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-it-works.md").read_text("utf-8")
NAMES = ("gate", "lstm", "three_cells", "stack", "five_places", "gradient", "trained")
every_figure = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def drawn():
    """What `python docs/figures` runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS / "figures")
        spec = importlib.util.spec_from_file_location("figures_main", DOCS / "figures" / "__main__.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_the_command_draws_the_pictures_that_the_page_shows(drawn, tmp_path):
    assert drawn.main([str(tmp_path)]) == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted(f"{name}-{theme}.svg" for name in NAMES for theme in ("light", "dark"))
    assert files == sorted(path.name for path in drawn.FOLDER.iterdir())
    assert files == sorted(re.findall(r'src(?:set)?="images/how-it-works/([^"]+)"', PAGE))
    for file in files:
        assert ET.parse(tmp_path / file).getroot().tag.endswith("svg")
        kept = (drawn.FOLDER / file).read_bytes()
        # the two others plot what is computed, whose last digits are the processor's
        if (
            file.split("-")[0] not in ("gradient", "trained")
            and f"Matplotlib v{matplotlib.__version__}".encode() in kept
        ):
            assert (tmp_path / file).read_bytes() == kept, "run python docs/figures"


def test_png_is_drawn_on_the_colour_of_the_page(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "FIGURES", (drawn.gate,))
    drawn.main([str(tmp_path), "--png"])
    corner = {path.stem: matplotlib.image.imread(path)[0, 0, :3] for path in tmp_path.iterdir()}
    for theme in drawn.THEMES:
        assert corner[f"gate-{theme.name}"] == pytest.approx(to_rgb(theme.page), abs=0.01)


@every_figure
def test_no_word_is_cut_off_or_lies_on_another(drawn, name):
    figure = getattr(drawn, name)(drawn.THEMES[0]).figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]
    ticks = {t for axes in figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    boxes = {t: t.get_window_extent(renderer) for t in texts if t not in ticks}
    assert len(boxes) > 5
    for text, box in boxes.items():
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()} is cut off"
    for (a, box_a), (b, box_b) in combinations(boxes.items(), 2):
        assert not box_a.overlaps(box_b), f"{a.get_text()} and {b.get_text()}"


def contrast(front, back):
    """Of two colours, as WCAG 2 defines it."""

    def luminance(color):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(front), luminance(back)))
    return (high + 0.05) / (low + 0.05)


def test_words_stand_out_in_both_themes(drawn):
    for theme in drawn.THEMES:
        for role in ("text", "quiet", *theme.roles):
            assert contrast(theme.color(role), theme.page) >= 4.5, (theme.name, role)
            assert contrast(theme.text, theme.fill(role, 0.26)) >= 4.5, (theme.name, role)


def test_the_trained_network_is_the_page_s_and_does_what_the_page_says(drawn):
    names = importlib.import_module("trained").network()
    rows = re.findall(r"^(input|forget|output) +([\d.]+) +([\d.]+) +([\d.]+)$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == ["input", "forget", "output"]
    write, read = names["write"], names["read"]
    for name, *numbers in rows:
        found = [float(names["trace"][name][..., 0][steps].mean()) for steps in (write, read, ~write & ~read)]
        assert found == pytest.approx([float(number) for number in numbers], abs=0.1)
    assert (names["prediction"] - names["target"]).abs().max() < 0.3


def test_the_gradient_arrives_as_the_page_says(drawn):
    module = importlib.import_module("gradient")
    arriving = {name: norms for (name, *_), norms in zip(module.CELLS, module.arriving(), strict=True)}
    at_30 = [arriving[name][30] for name in ("RNN", "LSTM, bias 0", "LSTM, bias 1", "LSTM, bias 3")]
    assert all(10 * less < more for less, more in pairwise(at_30))
    assert arriving["LSTM, bias 3"][-1] > 0.1
