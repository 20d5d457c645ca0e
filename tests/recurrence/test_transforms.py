"""torch.func's transforms, forward-mode and second derivatives, with the default choice of a backend: right, or refused."""

import subprocess
import sys

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch.func import functional_call, grad, hessian, jvp, vmap

import deeplstm
from deeplstm import LSTM, BackendUnavailable, GRUCell, LSTMCell, Recurrent, Stack


@pytest.fixture(autouse=True)
def _kernels(monkeypatch):
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "cpu,torch,reference")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield
    torch._dynamo.reset()


MODULES = {
    "kernels": lambda: Recurrent(LSTMCell(3, 4, norm=True)),
    "torch's": lambda: Recurrent(LSTMCell(3, 4)),
    "drop-in": lambda: LSTM(3, 4),
    "stack": lambda: Stack(LSTMCell(3, 4), GRUCell(4, 4)),
}
T, B = 5, 2
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(T, B, 3, generator=DRAW)
V = torch.randn(T, B, 3, generator=DRAW)


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]()


def by_reference(call):
    with deeplstm.backend("reference"):
        return call()


def assert_right(call):
    torch.testing.assert_close(call(), by_reference(call), rtol=1e-3, atol=1e-4)


def loss_of(module):
    return lambda x: (module(x)[0] ** 2).sum()


def test_grad(module):
    assert_right(lambda: grad(loss_of(module))(X))


def test_a_first_call_inside_a_transform_leaves_nothing_of_it_behind():
    """What is imported or kept by a first call is not the transform's."""
    code = """
import torch, deeplstm
from deeplstm import LSTMCell, Recurrent
module, x = Recurrent(LSTMCell(3, 4, norm=True)), torch.ones(5, 2, 3)
torch.func.grad(lambda x: module(x)[0].sum())(x)
with deeplstm.backend("cpu"):
    module(x)[0].sum().backward()
print(module.cell.weight_hh.grad.abs().sum().item() > 0)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


def test_jvp_is_not_zero(module):
    assert_right(lambda: jvp(loss_of(module), (X,), (V,)))
    assert jvp(loss_of(module), (X,), (V,))[1]


def test_second_derivatives(module):
    def twice():
        x = X.clone().requires_grad_()
        (first,) = torch.autograd.grad(loss_of(module)(x), x, create_graph=True)
        return torch.autograd.grad((first * V).sum(), [x, *module.parameters()])

    assert_right(twice)


def test_many_gradients_at_once(module):
    upstream = torch.randn(3, *module(X)[0].shape, generator=torch.Generator().manual_seed(1))

    def gradients():
        x = X.clone().requires_grad_()
        return torch.autograd.grad(module(x)[0], [x, *module.parameters()], upstream, is_grads_batched=True)

    assert_right(gradients)


def test_many_gradients_at_once_of_rows_that_share_lengths_and_resets():
    module = Recurrent(LSTMCell(3, 4, norm=True))
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 0] = True

    def jacobian():
        return torch.autograd.functional.jacobian(
            lambda x: module(x, lengths=[T, 2], resets=resets)[0].sum(0), X, vectorize=True
        )

    assert_right(jacobian)


def test_hessian():
    module = Recurrent(LSTMCell(3, 4, norm=True))
    assert_right(lambda: hessian(loss_of(module))(X[:2, :1]))


def test_vmap_over_inputs_and_over_weights(module):
    inputs = torch.stack([X, 2 * X])
    weights = {name: torch.stack([p, 2 * p]).detach() for name, p in module.named_parameters()}
    one = lambda x: module(x)[0]  # noqa: E731
    member = lambda weights: functional_call(module, weights, (X,))[0]  # noqa: E731
    wanted = by_reference(lambda: torch.stack([one(x) for x in inputs]))
    torch.testing.assert_close(vmap(one)(inputs), wanted, rtol=1e-4, atol=1e-4)
    wanted = by_reference(lambda: torch.stack([member({k: w[n] for k, w in weights.items()}) for n in range(2)]))
    torch.testing.assert_close(vmap(member)(weights), wanted, rtol=1e-4, atol=1e-4)


def test_gradients_of_each_row(module):
    weights = {name: p.detach() for name, p in module.named_parameters()}
    loss = lambda weights, x: (functional_call(module, weights, (x,))[0] ** 2).sum()  # noqa: E731
    got = vmap(grad(lambda weights, row: loss(weights, row[:, None])), (None, 1))(weights, X)
    wanted = by_reference(lambda: [grad(loss)(weights, X[:, n : n + 1]) for n in range(B)])
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, torch.stack([w[name] for w in wanted]))


def test_forward_mode(module):
    def tangents():
        with forward_ad.dual_level():
            of_x = forward_ad.unpack_dual(module(forward_ad.make_dual(X, V))[0]).tangent
            weights = {n: forward_ad.make_dual(p.detach(), torch.ones_like(p)) for n, p in module.named_parameters()}
            of_weights = forward_ad.unpack_dual(functional_call(module, weights, (X,))[0]).tangent
        return of_x, of_weights

    assert_right(tangents)


@pytest.mark.parametrize("transform", [grad, lambda f: lambda x: jvp(f, (x,), (x,)), vmap])
def test_kernels_asked_for_by_name_refuse(transform):
    module = Recurrent(LSTMCell(3, 4, norm=True))
    function = loss_of(module) if transform is not vmap else lambda x: module(x[:, None])[0]
    with deeplstm.backend("cpu"), pytest.raises(BackendUnavailable, match="kernels lack"):
        transform(function)(X)


# ---------------------------------------------------------------- inside and around torch.compile


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_transforms_inside_a_compiled_function():
    x, v = X[:2], V[:2]  # they are unrolled
    module = MODULES["drop-in"]()
    assert_right(lambda: compiled(grad(loss_of(module)))(x))
    torch._dynamo.reset()
    assert_right(lambda: compiled(vmap(lambda x: module(x)[0]))(torch.stack([x, 2 * x])))
    torch._dynamo.reset()
    module = MODULES["torch's"]()
    assert_right(lambda: compiled(lambda x, v: jvp(loss_of(module), (x,), (v,)))(x, v))


@pytest.mark.parametrize("transform", [grad, lambda f: lambda x: jvp(f, (x,), (x,))])
def test_transforms_of_a_compiled_function_are_refused_by_torch(transform):
    with pytest.raises(torch._dynamo.exc.Unsupported, match="functorch"):
        transform(compiled(loss_of(MODULES["kernels"]())))(X)


def test_forward_mode_through_a_compiled_function_is_refused():
    module = MODULES["kernels"]()
    function = compiled(lambda x: module(x)[0])
    for _ in range(2):  # also when it was compiled before
        with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
            function(forward_ad.make_dual(X, V))
        function(X)


def test_second_derivatives_of_a_compiled_function_are_refused_by_torch():
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(compiled(loss_of(MODULES["kernels"]()))(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        first.sum().backward()


def test_autocast_around_a_compiled_function():
    module = MODULES["kernels"]()

    def run(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x)[0]

    assert_right(lambda: compiled(run)(X))
