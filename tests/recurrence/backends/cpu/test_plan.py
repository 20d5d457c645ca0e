"""Plans: kernels called one after another, told where memory begins."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import deeplstm
from deeplstm.recurrence.backends.cpu import programs
from deeplstm.recurrence.backends.cpu.address import Address
from deeplstm.recurrence.backends.cpu.plan import NOWHERE, Plan


def numbers(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (size,), dtype=torch.uint8)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 128, 1000])
def test_copies_so_many_bytes_and_no_more(size):
    plan = Plan()
    plan.copy(Address("to", 3), Address("from", 5), size)
    source, to = numbers(size + 10), numbers(size + 10)
    expected = to.clone()
    expected[3 : 3 + size] = source[5 : 5 + size]
    plan.run({"from": source, "to": to})
    assert torch.equal(to, expected)


@pytest.mark.parametrize("size", [1, 64, 100])
def test_nowhere_gives_zeros(size):
    plan = Plan()
    plan.copy(Address("to", 8), Address("from"), size)
    to = torch.full((size + 16,), 7, dtype=torch.uint8)
    plan.run({"from": NOWHERE, "to": to})
    assert not to[8:-8].any()
    assert bool((to[:8] == 7).all() and (to[-8:] == 7).all())


def test_calls_are_made_in_order_and_again_with_other_memory():
    plan = Plan()
    plan.copy(Address("b"), Address("a"), 100)
    plan.copy(Address("c"), Address("b"), 100)
    for _ in range(2):
        memory = {name: numbers(100) for name in "abc"}
        plan.run(memory)
        assert torch.equal(memory["c"], memory["a"])


def test_several_threads_run_one_plan():
    plan = Plan()
    for _ in range(20):
        plan.copy(Address("b"), Address("a"), 5000)
        plan.copy(Address("c", 10), Address("b"), 5000)

    def run(seed: int) -> bool:
        right = True
        for n in range(50):
            memory = {"a": torch.full((5000,), (seed + n) % 256, dtype=torch.uint8), "b": numbers(5000)}
            memory["c"] = numbers(5010)
            plan.run(memory)
            right &= torch.equal(memory["c"][10:], memory["a"])
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


def test_what_is_prepared_for_shapes_is_bounded():
    layer = deeplstm.Recurrent(deeplstm.LSTMCell(3, 4))
    y = {}
    with deeplstm.backend("cpu"):
        for T in (*range(1, programs.SHAPES + 10), 1):
            x = torch.ones(T, 2, 3, requires_grad=True)
            out, _ = layer(x)
            out.sum().backward()
            assert x.grad is not None
            previous = y.setdefault(T, (out.detach(), x.grad))
            assert torch.equal(previous[0], out)
            assert torch.equal(previous[1], x.grad)
    known = programs.known_of(layer.cell)
    (found,) = known._programs.values()
    assert len(found._prepared) == programs.SHAPES
