"""Memory that calls use one after another: never two at a time, never what leaves a call, and not for ever."""

import os
import threading

import pytest
import torch
import torch.utils.checkpoint

import deeplstm
from deeplstm.recurrence.backends.cpu import pool
from deeplstm.recurrence.backends.cpu.pool import IDLE, SMALL_BYTES, Pool

MANY = 10**9


def test_what_nobody_has_any_more_is_used_again():
    one = Pool(MANY)
    memory = one.take(SMALL_BYTES)
    first = memory.data_ptr()
    view = memory[64:128].view(torch.float32)
    del memory
    other = one.take(SMALL_BYTES)
    assert other.data_ptr() != first, "a view of it is still there"
    del view
    assert one.take(SMALL_BYTES).data_ptr() == first


def test_what_a_graph_holds_is_in_use():
    one = Pool(MANY)

    class Holds(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(one.take(SMALL_BYTES))
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * ctx.saved_tensors[0].numel()

    y = Holds.apply(torch.ones(1, requires_grad=True))
    assert one.unused_bytes == 0
    y.backward()
    assert one.unused_bytes == SMALL_BYTES


def test_sizes_that_differ_a_little_share_memory():
    one = Pool(MANY)
    first = one.take(1_000_000).data_ptr()
    assert one.take(990_000).data_ptr() == first
    assert one.take(500_000).data_ptr() != first
    memory = one.take(1_000_001)
    assert 1_000_001 <= memory.numel() <= 1_000_001 * 9 / 8


def test_what_has_not_been_wanted_for_long_is_given_back():
    one = Pool(MANY)
    one.take(10 * SMALL_BYTES)
    for _ in range(IDLE):
        one.take(SMALL_BYTES)
    assert one.unused_bytes == 11 * SMALL_BYTES
    one.take(SMALL_BYTES)
    assert one.unused_bytes == SMALL_BYTES
    one.clear()
    assert one.unused_bytes == 0


def test_no_more_than_the_limit_lies_unused():
    one = Pool(4 * SMALL_BYTES)
    memory = [one.take(SMALL_BYTES) for _ in range(8)]
    assert len({m.data_ptr() for m in memory}) == 8, "what is in use has no limit"
    memory.clear()
    one.take(SMALL_BYTES)
    assert one.unused_bytes <= 5 * SMALL_BYTES  # the last one was in use then
    nothing = Pool(0)
    nothing.take(SMALL_BYTES)
    assert nothing.unused_bytes == 0


def test_it_does_without_torchs_count(monkeypatch):
    monkeypatch.setattr(pool, "_use_count", None)
    one = Pool(MANY)
    assert one.take(SMALL_BYTES).numel() == SMALL_BYTES
    assert one.unused_bytes == 0


def test_threads_never_get_the_same_memory():
    one, wrong = Pool(MANY), []

    def work(number):
        for _ in range(200):
            memory = one.take(SMALL_BYTES)
            memory.fill_(number)
            wrong.extend([number] * (not bool((memory == number).all())))
            del memory

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_that_is_not_there():
    with pool.POOL._lock:
        child = os.fork()
        if not child:
            pool.POOL.take(SMALL_BYTES)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("DEEPLSTM_POOL_MB", "much")
    with pytest.raises(ValueError, match=r"DEEPLSTM_POOL_MB='much' is set, a whole number of megabytes is expected"):
        pool._limit()


@pytest.fixture
def tiny(monkeypatch):
    """A pool that has everything, however small."""
    monkeypatch.setattr(pool, "SMALL_BYTES", 0)
    monkeypatch.setattr(pool, "POOL", Pool(MANY))
    return pool.POOL


class Passes(torch.nn.Module):
    """Gives a gradient and traces that are what the loop itself keeps."""

    state_size = 8

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x, h):
        z = deeplstm.mark(torch.tanh(x + self.linear(h)), "z")
        return deeplstm.mark(z * 2, "twice"), z


CELLS = {
    "norm": (lambda: deeplstm.LSTMCell(8, 8, norm=True), ["forget", "c", "h"]),
    "gru": (lambda: deeplstm.GRUCell(8, 8), ["reset"]),
    "passes": (Passes, ["z", "twice"]),
}


@pytest.mark.parametrize("memory", ["save", "recompute"])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("make", "names"), CELLS.values(), ids=CELLS)
def test_nothing_that_leaves_a_call_is_from_it(tiny, make, names, grad, memory):
    cell, x = make(), torch.randn(5, 3, 8, requires_grad=grad)
    parts = [torch.zeros(3, 8) for _ in range(2 if isinstance(cell.state_size, tuple) else 1)]
    state = tuple(parts) if isinstance(cell.state_size, tuple) else parts[0]
    with torch.set_grad_enabled(grad):
        y, final, traces = deeplstm.scan(cell, None, x, state, trace=names, memory=memory, backend="cpu")
    leaving = [y, *(final if isinstance(final, tuple) else [final]), *traces.values()]
    if grad:
        leaving += torch.autograd.grad(sum(t.sum() for t in [y, *traces.values()]), [x, *cell.parameters()])
    assert tiny._held or not grad
    inside = {one.memory.untyped_storage().data_ptr() for one in tiny._held}
    assert not inside.intersection(t.untyped_storage().data_ptr() for t in leaving)


def test_calls_between_a_forward_and_its_backward_change_nothing(tiny):
    layer = deeplstm.Recurrent(deeplstm.LSTMCell(6, 6, norm=True))
    xs = [torch.randn(7, 2, 6, requires_grad=True) for _ in range(3)]
    with deeplstm.backend("cpu"):
        alone = [torch.autograd.grad(layer(x)[0].square().sum(), x)[0] for x in xs]
        losses = [layer(x)[0].square().sum() for x in xs]
        twice = [torch.autograd.grad(loss, x, retain_graph=True)[0] for loss, x in zip(losses, xs, strict=True)]
        again = [torch.autograd.grad(loss, x)[0] for loss, x in zip(losses, xs, strict=True)]
    for found in (twice, again):
        assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))


def test_checkpoints_let_go_of_what_was_kept(tiny):
    """What a checkpoint computes again it does not keep in between."""
    layer, x = deeplstm.Recurrent(deeplstm.LSTMCell(6, 6)), torch.randn(7, 2, 6, requires_grad=True)
    with deeplstm.backend("cpu"):
        wanted = torch.autograd.grad(layer(x)[0].sum(), x)[0]
        y = torch.utils.checkpoint.checkpoint(lambda x: layer(x)[0], x, use_reentrant=False)
        assert all(one.is_free() for one in tiny._held)
        assert torch.equal(torch.autograd.grad(y.sum(), x)[0], wanted)
