"""One page about a trained network: `collect` makes its data from a model and what it read, `render` makes HTML of that."""

from .collect import collect as collect
from .page import render as render

__all__ = ["collect", "render"]
