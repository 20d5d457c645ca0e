"""How two ways of computing the same are compared: results, and the gradient of everything that went in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def flat(value: Any) -> list[Tensor]:
    """Every tensor in a nest of tuples, lists and dicts, in order."""
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return [tensor for part in value for tensor in flat(part)]


def state_of(cell: Any, B: int, dtype: torch.dtype = torch.float64, requires_grad: bool = True) -> Any:
    """A random state for a cell, as it wants it."""
    sizes = cell.state_size
    if isinstance(sizes, tuple):
        return tuple(torch.randn(B, size, dtype=dtype, requires_grad=requires_grad) for size in sizes)
    return torch.randn(B, sizes, dtype=dtype, requires_grad=requires_grad)


def gradients(results: Any, inputs: Iterable[Tensor], seed: int = 1) -> list[Tensor]:
    """The gradient of every input, with a random upstream gradient on every result; zeros where there is no path."""
    draw, inputs = torch.Generator().manual_seed(seed), list(inputs)
    pairs = [(r, torch.randn(r.shape, generator=draw, dtype=r.dtype)) for r in flat(results) if r.is_floating_point()]
    moving = [pair for pair in pairs if pair[0].requires_grad]
    if not moving:
        return [torch.zeros_like(i) for i in inputs]
    outputs, upstream = zip(*moving, strict=True)
    return list(torch.autograd.grad(outputs, inputs, upstream, materialize_grads=True))


def assert_same(
    actual: Callable[[], Any],
    expected: Callable[[], Any],
    inputs: Sequence[Tensor],
    expected_inputs: Sequence[Tensor] | None = None,
    *,
    seed: int | None = None,
    **tolerance: Any,
) -> None:
    """Both calls give the same results and the same gradients of the inputs (and of what stands in their place)."""
    found = []
    for call, tensors in ((actual, inputs), (expected, expected_inputs if expected_inputs is not None else inputs)):
        if seed is not None:
            torch.manual_seed(seed)
        results = call()
        found.append((flat(results), gradients(results, tensors)))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert len(ours) == len(theirs)
    for part, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(got, want, **tolerance, msg=lambda m, n=part: f"result {n}: {m}")
    for part, (got, want) in enumerate(zip(our_gradients, their_gradients, strict=True)):
        torch.testing.assert_close(got, want, **tolerance, msg=lambda m, n=part: f"gradient of input {n}: {m}")
