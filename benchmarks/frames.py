"""How smooth pages about networks are: frame times in a browser, for 2,000 steps of 512 units, of a text and of 32 channels.

python -m benchmarks.frames
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import deeplstm
from deeplstm.inspect.report.page import render
from deeplstm.tasks.text import TextConfig, TextModel, Training, train
from deeplstm.tasks.text.report import report

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
CHANGES = {
    "nothing": "() => {}",
    "the unit": "(r, n) => r.change({ unit: n })",
    "the step": "(r, n) => r.change({ step: r.state.step + 1 })",
    "the gate": "(r, n) => r.change({ value: ['input', 'forget', 'cell', 'output', 'c', 'h'][n % 6] })",
}
# From the frame before a change over the one that draws it to the next: two frames, so half of it is one.
MEASURE = """async (change) => {
  const times = [], next = () => new Promise(requestAnimationFrame);
  for (let n = 0; n < 60; n++) {
    const begin = await next();
    change(report, n);
    await next();
    times.push((await next() - begin) / 2);
  }
  return times.sort((a, b) => a - b);
}"""
SCROLL = """async () => {
  const times = [], next = () => new Promise(requestAnimationFrame);
  scrollTo({ top: 0, behavior: "instant" });
  let last = await next();
  for (let n = 0; n < 100; n++) {
    scrollBy({ top: 30, behavior: "instant" });
    const now = await next();
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b);
}"""


def main() -> int:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        print(f"There is no Chromium on the path ({', '.join(CHROMIUMS)}).", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        print(f"Chromium {browser.version}")
        for what, make in (("text", text_page), ("curves", curves_page)):
            measure(browser.new_page(viewport={"width": 1280, "height": 900}), what, make(Path(folder)))
        browser.close()
    return 0


def text_page(folder: Path) -> Path:
    options = Training(steps=5, batch_size=8, window=40, threads=1, device="cpu")
    config = TextConfig(model=TextModel(layers=1, width=512), training=options)
    train([], folder / "run", config, quiet=True)
    page = folder / "text.html"
    page.write_text(render(report(folder / "run")), encoding="utf-8")
    return page


def curves_page(folder: Path) -> Path:
    torch.manual_seed(0)
    x = torch.randn(2000, 1, 32).cumsum(0) / 10
    return deeplstm.report(deeplstm.LSTM(32, 512), x, folder / "curves.html")


def measure(page: Any, kind: str, file: Path) -> None:
    """Frame times around changes at the text, or the curves, and at the heat map."""
    page.goto(file.as_uri())
    page.wait_for_timeout(1500)
    opened = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    print(f"\nA page with {kind}: {file.stat().st_size / 1e6:.1f} MB, opened in {opened:.0f} ms")
    for where in (kind, "heat"):
        page.evaluate(f"document.getElementById('{where}').scrollIntoView({{ block: 'center', behavior: 'instant' }})")
        page.wait_for_timeout(1000)
        for what, change in CHANGES.items():
            show(f"{what}, at the {where}", page.evaluate(f"() => ({MEASURE})({change})"))
        if kind == "curves":
            page.evaluate("() => report.change({ range: 200 })")
            show(f"the step, 200 in sight, at the {where}", page.evaluate(f"() => ({MEASURE})({CHANGES['the step']})"))
            page.evaluate("() => report.change({ range: 0 })")
    show("scrolling", page.evaluate(SCROLL))


def show(what: str, times: list[float]) -> None:
    print(f"{what:36} median {times[len(times) // 2]:5.1f} ms, 95th percentile {times[len(times) * 95 // 100]:5.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
