"""No timing without a check: contestants of a kind must give the same outputs, states and gradients."""

import torch
from torch import Tensor

from benchmarks.contestants import Case, Contestant

ERROR = 2e-5
"""Largest difference allowed, relative to the largest value of the tensor: float32 after hundreds of steps."""


def disagreement(field: list[Contestant], case: Case) -> tuple[float, str]:
    """The largest relative difference from the first contestant, and where it is: "name: tensor"."""
    x = torch.randn(case.T, case.B, case.H)
    upstream = [torch.randn(case.T, case.B, case.H), *(torch.randn(case.L, case.B, case.H) for _ in range(2))]
    expected = results(field[0], x, upstream)
    worst = (0.0, "")
    for contestant in field[1:]:
        for name, value in results(contestant, x, upstream).items():
            scale = expected[name].abs().max().item() or 1.0
            error = (value - expected[name]).abs().max().item() / scale
            worst = max(worst, (error, f"{contestant.name}: {name}"))
    return worst


def results(contestant: Contestant, x: Tensor, upstream: list[Tensor]) -> dict[str, Tensor]:
    """Output, final state, and the gradient of the input and of every parameter."""
    x = x.clone().requires_grad_()
    y, state = contestant.run(x)
    h, c = state if isinstance(state[0], Tensor) else (torch.stack(parts) for parts in zip(*state, strict=True))
    outputs = [y, h, c]
    gradients = torch.autograd.grad(outputs, [x, *contestant.parameters.values()], upstream)
    names = ["y", "h", "c", "dx", *(f"d{name}" for name in contestant.parameters)]
    return {name: value.detach() for name, value in zip(names, [*outputs, *gradients], strict=True)}
