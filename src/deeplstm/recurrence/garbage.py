"""When Python looks for garbage."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_users = 0
_was_on = False


@contextmanager
def no_collection() -> Iterator[None]:
    """Have Python not look for garbage, as long as anybody in any thread is in here.

    What makes many objects at once, such as capturing a cell, would have it go through all that importing torch has left,
    which takes 50 ms and finds nothing; afterwards what was made is looked at alone.
    """
    global _users, _was_on
    with _lock:
        if not _users:
            _was_on = gc.isenabled()
            gc.disable()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _leave(1)


def _leave(count: int) -> None:
    global _users
    _users -= min(count, _users)
    if not _users and _was_on:
        gc.enable()


def _forked() -> None:
    """Of those who were in here only the thread that forked is there, in a child."""
    global _lock
    _lock = Lock()
    if _users:
        _leave(_users)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
