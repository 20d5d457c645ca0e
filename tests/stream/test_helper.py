"""The thread that helps with steps: it may come, come late, or not come, and the bits are the same."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

import deeplstm
from deeplstm.recurrence.backends.cpu.streaming import helper as helpers
from deeplstm.stream import sharing
from table import drawn


@pytest.fixture(scope="module")
def case():
    """A model with stages of every kind, 200 inputs, and what one thread gives."""
    model = drawn(
        deeplstm.Stack(deeplstm.LSTMCell(5, 48, norm=True), deeplstm.GRUCell(48, 40), torch.nn.Linear(40, 33))
    )
    x = torch.randn(200, 1, 5)
    with deeplstm.backend("cpu"):
        return model, x, deeplstm.Stream(model, threads=1).feed(x)


def shared(case):
    with deeplstm.backend("cpu"):
        return deeplstm.Stream(case[0], threads=2)


def test_it_comes_and_helps(case):
    _, x, y = case
    stream, end = shared(case), time.monotonic() + 60
    before = helpers.helper().calls
    while helpers.helper().calls < before + 3:
        stream.reset()
        assert torch.equal(stream.feed(x), y)
        assert time.monotonic() < end, "it has had a minute"


def test_it_sleeps_and_is_woken(case):
    _, x, y = case
    stream, one, end = shared(case), helpers.helper(), time.monotonic() + 60
    for _ in range(2):
        while not one.asleep.value:
            assert time.monotonic() < end
            time.sleep(0.001)
        before = one.calls
        while one.calls == before:
            assert time.monotonic() < end
            stream.reset()
            assert torch.equal(stream.feed(x), y)


def test_without_it_all_is_done_alone(case, monkeypatch):
    """A thread that never gets a turn."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    absent = helpers.Helper()
    monkeypatch.setattr(sharing, "helper", lambda: absent)
    _, x, y = case
    stream = shared(case)
    assert torch.equal(stream.feed(x[:100]), y[:100])
    assert torch.equal(torch.stack([stream.step(v) for v in x[100:]]), y[100:])
    assert absent.calls == 0


def test_it_may_come_at_any_moment(case, monkeypatch):
    """Also in the middle of a call, to a step that is long over."""
    late = helpers.Helper()
    monkeypatch.setattr(sharing, "helper", lambda: late)
    monkeypatch.setattr(late, "wake", lambda: None)
    done = threading.Event()

    def now_and_then():
        while not done.is_set():
            late._code.call(late.address, helpers.WATCH)
            time.sleep(0.0005)

    thread = threading.Thread(target=now_and_then)
    thread.start()
    try:
        _, x, y = case
        stream, end = shared(case), time.monotonic() + 60
        while late.calls < 10:
            assert time.monotonic() < end
            stream.reset()
            assert torch.equal(stream.feed(x), y)
            stream.reset()
            assert torch.equal(torch.stack([stream.step(v) for v in x[:50]]), y[:50])
    finally:
        done.set()
        thread.join()


def test_streams_in_several_threads_are_helped_in_turn(case):
    _, x, y = case
    streams = [shared(case) for _ in range(3)]
    found = [None] * 3

    def run(n):
        found[n] = torch.stack([streams[n].step(v) for v in x])

    workers = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(torch.equal(f, y) for f in found)


def test_while_another_stream_has_it_all_is_done_alone(case):
    _, x, y = case
    stream, one = shared(case), helpers.helper()
    state = ctypes.c_int64.from_address(one.address + 8 * helpers.STATE)
    assert state.value == helpers.CLOSED
    state.value, before = helpers.TAKEN, one.calls
    try:
        assert torch.equal(stream.feed(x), y)
        assert (state.value, one.calls) == (helpers.TAKEN, before)
    finally:
        state.value = helpers.CLOSED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_helper_of_its_own():
    """The parent's thread does not come along, nor does who was using it."""
    code = """
import ctypes, os, time, torch, deeplstm
from deeplstm.recurrence.backends.cpu.streaming.helper import TAKEN, helper
model, x = deeplstm.LSTM(40, 40), torch.randn(50, 1, 40)
with deeplstm.backend("cpu"):
    stream = deeplstm.Stream(model, threads=2)
y = stream.feed(x)
stream.reset()
state = ctypes.c_int64.from_address(helper().address)
state.value = TAKEN  # as by another thread
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
before, same, end = helper().calls, True, time.monotonic() + 60
while same and helper().calls == before and time.monotonic() < end:
    stream.reset()
    same = torch.equal(torch.stack([stream.step(v) for v in x]), y)
os._exit(0 if same and helper().calls > before else 3)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
