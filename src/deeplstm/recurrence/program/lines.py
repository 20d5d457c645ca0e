"""Which line of a cell something comes from."""

from __future__ import annotations

import sys
from typing import Any


def here() -> str | None:
    """The innermost line that is running and a cell's; None while torch differentiates, which no line asked for."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.endswith(("program/capture.py", "program\\capture.py")):
            return None
        if is_users(name):
            return _said(name, frame.f_lineno, frame.f_code)
        frame = frame.f_back
    return None


def of_error(error: BaseException) -> str | None:
    """The innermost line that an error came through and that is neither torch's nor ours."""
    found, trace = None, error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_users(code.co_filename):
            found = _said(code.co_filename, trace.tb_lineno, code)
        trace = trace.tb_next
    return found


def is_users(name: str) -> bool:
    """Whether a file is one of a cell's: neither torch's nor ours that captures."""
    return "/torch/" not in name and "deeplstm/recurrence" not in name and not name.startswith("<")


def _said(name: str, line: int, code: Any) -> str:
    return f'"{name}", line {line}, in {code.co_name}'
