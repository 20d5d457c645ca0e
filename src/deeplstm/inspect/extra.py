"""The libraries of the extra "app" that tables and figures need."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str, what: str) -> Any:
    """Import a module that only ``what`` needs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"{what} needs {package}, which cannot be imported: pip install 'deeplstm[app]'.") from error
