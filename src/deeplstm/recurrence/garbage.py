"""When Python looks for garbage."""

import gc
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
            _users -= 1
            if not _users and _was_on:
                gc.enable()
