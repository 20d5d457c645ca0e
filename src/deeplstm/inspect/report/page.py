"""The page: data in, one HTML file out that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..extra import needed

SIZE_LIMIT = 6_000_000
"""Bytes of a page, at most."""


def render(data: dict[str, Any]) -> str:
    """A report as one HTML page that opens offline, from what `collect` gives (or another task's own).

    The page asks nothing of any network: its content security policy allows its own script and style, by their hash, and
    nothing else, so whatever a text or a run holds, it runs no code.

    Raises: InputError where the page would have more than `SIZE_LIMIT` bytes.
    """
    jinja2, Markup = needed("jinja2", "a report"), needed("markupsafe", "a report").Markup
    assets = files(__package__) / "assets"
    scripts = sorted(
        (one for one in assets.iterdir() if one.name.endswith(".js")), key=lambda one: int(one.name.split("-")[0])
    )
    script = "\n" + "\n".join(one.read_text("utf-8") for one in scripts)
    style = "\n" + (assets / "page.css").read_text("utf-8")
    allowed = {"default-src": "'none'", "script-src": _hash(script), "style-src": _hash(style), "img-src": "data:"}
    policy = "; ".join(
        f"{what} {source}" for what, source in {**allowed, "base-uri": "'none'", "form-action": "'none'"}.items()
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(assets)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.get_template("page.html").render(
        data=data, json=Markup(in_script(data)), script=Markup(script), style=Markup(style), policy=policy
    )
    size = len(page.encode())
    if size > SIZE_LIMIT:
        raise InputError(f"The report would have {size:,} bytes, more than {SIZE_LIMIT:,}: give fewer steps.")
    return page


def write(page: str, path: Path) -> Path:
    """Write a page under a temporary name first: what fails leaves the file that was there, and no half of a new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def in_script(data: Any) -> str:
    r"""JSON that no text in it can end early: `<` occurs in strings alone, where \u003c says the same."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
