"""Draw the figures of docs/how-it-works.md: `python docs/figures [FOLDER] [--png]`.

Each comes twice, for GitHub's light and dark pages, as SVG; `--png` draws them as PNG, to look at.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from depth import five_places, stack
from drawing import THEMES
from gradient import gradient
from one_step import gate, lstm, three_cells
from trained import trained

FIGURES = (gate, lstm, three_cells, stack, five_places, gradient, trained)
FOLDER = Path(__file__).parents[1] / "images" / "how-it-works"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python docs/figures", description="Draw the figures of docs/how-it-works.md."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to (docs/images/how-it-works)")
    parser.add_argument("--png", action="store_true", help="PNG on the page's colour instead of SVG without one")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for draw in FIGURES:
        for theme in THEMES:
            path = options.folder / f"{draw.__name__}-{theme.name}.{'png' if options.png else 'svg'}"
            draw(theme).save(path)
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
