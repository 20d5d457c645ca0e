"""Published results reproduced: `python -m benchmarks.results.*`. Speed is measured by `deeplstm bench`."""

from pathlib import Path

OUT = Path(__file__).parent / "out"
"""Where everything that these scripts write goes; git ignores it."""
