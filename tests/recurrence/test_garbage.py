"""Python's search for garbage is off as long as anybody wants it off, and then as it was before."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import deeplstm
from deeplstm.recurrence.backends.cpu import programs
from deeplstm.recurrence.garbage import no_collection


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_on else gc.disable)()


def test_it_is_off_until_the_last_one_leaves() -> None:
    first, second = no_collection(), no_collection()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_it_stays_off_for_whom_has_turned_it_off() -> None:
    gc.disable()
    with no_collection():
        pass
    assert not gc.isenabled()


def test_it_is_on_again_after_an_error() -> None:
    with pytest.raises(KeyError), no_collection():
        raise KeyError
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_it_is_on_in_a_forked_child_whatever_other_threads_were_doing() -> None:
    with no_collection():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
        assert not gc.isenabled()
    assert os.waitpid(child, 0)[1] == 0
    assert gc.isenabled()


def test_it_is_off_while_a_cell_is_captured_and_on_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    were_on = []

    def capture(*arguments: Any) -> Any:
        were_on.append(gc.isenabled())
        return _capture(*arguments)

    _capture = programs.capture
    monkeypatch.setattr(programs, "capture", capture)
    with deeplstm.backend("cpu"):
        deeplstm.Recurrent(deeplstm.LSTMCell(3, 5))(torch.zeros(2, 2, 3))[0].sum().backward()
    assert were_on == [False]
    assert gc.isenabled()
