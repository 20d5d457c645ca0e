"""A browser, and pages in it that say what they asked for and what went wrong."""

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import deeplstm
from deeplstm.inspect.report.collect import collect, expectations
from deeplstm.inspect.report.page import render

TEXT = 'def f(a, "b c"):\n    return [a, (1)]  # é ☃\n\nclass X:\n\tpass\n' * 6
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip(f"no Chromium on the path ({', '.join(CHROMIUMS)})")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, what it asked the network for beyond its own file, and what it complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self.page.evaluate(script, *arguments)

    def settle(self) -> None:
        """Wait until everything in sight is drawn."""
        self.page.evaluate(
            """async () => { const next = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
            for (let calm = 0; calm < 3; calm = report.idle() ? calm + 1 : 0) await next(); }"""
        )

    def show(self, selector: str) -> None:
        """Scroll there."""
        self.page.locator(selector).first.scroll_into_view_if_needed()
        self.settle()

    def state(self) -> dict[str, Any]:
        return self("() => ({...report.state})")

    def pixels(self, selector: str) -> np.ndarray:
        """Shapes: (height, width, 3)."""
        url = self("(s) => document.querySelector(s).toDataURL('image/png')", selector)
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """`opened(data)` writes the page and opens it without a network, as a file, at its text."""
    contexts = []

    def opening(data: dict[str, Any], *, scheme: str = "light", width: int = 1280, height: int = 900) -> Opened:
        file = tmp_path / "report.html"
        file.write_text(render(data), encoding="utf-8")
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(5000)
        one = Opened(context.new_page())
        one.page.on("request", lambda request: request.url != file.as_uri() and one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.goto(file.as_uri())
        one.settle()
        one.show("#text, #curves-scroll")
        return one

    yield opening
    for context in contexts:
        context.close()


class Reader(torch.nn.Module):
    """A small character model of two layers."""

    def __init__(self, symbols: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(symbols, 6)
        widths = [6, *[width] * layers]
        self.core = deeplstm.Stack(*[deeplstm.LSTMCell(i, o) for i, o in pairwise(widths)])
        self.output = torch.nn.Linear(width, symbols)
        with torch.no_grad():
            for parameter in self.core.parameters():
                parameter.mul_(6)  # gates that open and shut

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.output(self.core(self.embedding(ids))[0])


def data_of(text: str = TEXT, *, width: int = 9, layers: int = 2, **more: Any) -> dict[str, Any]:
    """The data of a page about a small model, not trained, that reads a text."""
    torch.manual_seed(0)
    symbols = sorted(set(text))
    ids = torch.tensor([symbols.index(one) for one in text])
    model = Reader(len(symbols), width, layers)
    seen = deeplstm.trace(model, ids[:, None])
    curve = {"x": [1, 2, 3, 4], "y": [4.0, 3.0, 2.5, 2.2]}
    given = {
        "loss": {"about": "It fell.", "label": "nats", "top": 4.0, "train": curve, "valid": curve},
        "memory": {
            "about": "Not far.",
            "label": "norm",
            "direction": "back",
            "lags": [0, 1, 2],
            "layers": [{"name": "layer 1", "norms": [1, 0.1, None]}],
        },
    }
    data = collect(model, seen, list(text), title="a run", about="A model.", unit="character", **{**given, **more})
    count = data["steps"]["count"]
    probabilities = torch.softmax(seen.y[:count, 0], -1).detach().numpy()
    data["expected"] = expectations(probabilities, ids[:count].numpy(), symbols)
    return data


@pytest.fixture(scope="session")
def make() -> Callable[..., dict[str, Any]]:
    """`make(text, width=..., ...)`: the data of a page."""
    return data_of


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Data of a page; not to be changed."""
    return data_of()
