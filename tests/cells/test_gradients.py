"""First and second derivatives of every cell and option against finite differences, in float64.

Through `Recurrent` on the reference backend, with a non-zero initial state, every output and every part of the state, and
with respect to the input, the state and every parameter. Noise is drawn from the same seed at every evaluation.
"""

import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils import parameters_to_vector

from checks import flat, state_of
from deeplstm import Recurrent, backend
from table import PLAIN, cells

I, H = 2, 3


def function_of_everything(layer, x, state, **sequence):
    """(x, all of the state, all parameters), each one vector -> all results as one vector; and where it is evaluated."""

    def run(x_numbers, state_numbers, parameter_numbers):
        torch.manual_seed(11)
        names, parameters = zip(*layer.named_parameters(), strict=True)
        weights = dict(zip(names, cut(parameter_numbers, parameters), strict=True))
        parts = refilled(state, iter(cut(state_numbers, flat(state))))
        with backend("reference"):
            results = torch.func.functional_call(layer, weights, (x_numbers.view_as(x), parts), sequence)
        return parameters_to_vector(flat(results))

    point = (x.flatten(), parameters_to_vector(flat(state)), parameters_to_vector(layer.parameters()))
    return run, tuple(part.detach().requires_grad_() for part in point)


def cut(numbers, like):
    """One vector cut into tensors shaped like these."""
    return [part.view_as(p) for part, p in zip(numbers.split([p.numel() for p in like]), like, strict=True)]


def refilled(state, parts):
    return tuple(refilled(part, parts) for part in state) if isinstance(state, tuple) else next(parts)


@cells()
def test_derivatives_over_time(case):
    layer, x = Recurrent(case.make(I, H)), torch.randn(2, 2, I, dtype=torch.float64)
    run, point = function_of_everything(layer.train(), x, state_of(layer.cell, 2))
    assert gradcheck(
        run, point, fast_mode=case not in PLAIN
    )  # the plain cells entry by entry, not in random directions
    assert gradgradcheck(run, point, fast_mode=True)


@cells()
def test_derivatives_in_reverse_with_lengths_and_resets(case):
    layer, x = Recurrent(case.make(I, H), reverse=True), torch.randn(3, 3, I, dtype=torch.float64)
    resets = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=torch.bool)
    run, point = function_of_everything(layer.train(), x, state_of(layer.cell, 3), lengths=[2, 0, 3], resets=resets)
    assert gradcheck(run, point, fast_mode=True)
    assert gradgradcheck(run, point, fast_mode=True)
