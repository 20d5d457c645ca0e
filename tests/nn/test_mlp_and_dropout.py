"""`MLP` and `VariationalDropout`."""

import math
import re

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from deeplstm import MLP, VariationalDropout

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [False, True])
def test_the_equations(activation, norm):
    mlp = MLP(3, 5, 4, 2, activation=activation, norm=norm, output_activation="sigmoid").double()
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    z = x
    for n, layer in enumerate(mlp.layers):
        z = z @ layer.weight.T + layer.bias
        if n < 2:
            if norm:
                centred = z - z.mean(-1, keepdim=True)
                z = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
                z = z * mlp.norms[n].weight + mlp.norms[n].bias
            z = ACTIVATIONS[activation](z)
    torch.testing.assert_close(mlp(x), torch.sigmoid(z))
    assert gradcheck(mlp, x, fast_mode=True)
    assert gradgradcheck(mlp, x, fast_mode=True)


def test_one_size_is_a_linear_map_of_any_number_of_dimensions():
    mlp = MLP(3, 2, dropout=0.5, norm=True)
    for shape in ((3,), (4, 3), (5, 4, 3)):
        x = torch.randn(shape)
        torch.testing.assert_close(mlp(x), x @ mlp.layers[0].weight.T + mlp.layers[0].bias)
    assert [name for name, _ in mlp.named_parameters()] == ["layers.0.weight", "layers.0.bias"]


def test_counted_parameters():
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(MLP(3, 5, 4)) == 3 * 5 + 5 + 5 * 4 + 4
    assert count(MLP(3, 5, 4, bias=False)) == 3 * 5 + 5 * 4
    assert count(MLP(3, 5, 4, norm=True)) == 3 * 5 + 5 + 5 * 4 + 4 + 2 * 5
    assert (MLP(3, 5, 4).input_size, MLP(3, 5, 4).output_size) == (3, 4)


def test_dropout_is_after_each_hidden_activation():
    mlp = MLP(1, 1000, 1000, activation="softplus", dropout=0.25, bias=False)  # softplus(0) is not 0: the order shows
    with torch.no_grad():
        mlp.layers[0].weight.fill_(1.0)
        mlp.layers[1].weight.copy_(torch.eye(1000))
    y, whole = mlp(torch.ones(2, 1)), math.log(1 + math.e)
    assert y.unique().tolist() == [0.0, pytest.approx(whole / 0.75)]
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.04)
    torch.testing.assert_close(mlp.eval()(torch.ones(2, 1)), torch.full((2, 1000), whole))


def test_repr_dtype_and_device():
    mlp = MLP(3, 5, 4, activation="gelu", device="meta", dtype=torch.float64)
    assert repr(mlp).startswith("MLP(\n  3, 5, 4, activation='gelu'\n")
    assert {(p.device.type, p.dtype) for p in mlp.parameters()} == {("meta", torch.float64)}


def test_all_that_is_wrong_with_an_mlp_at_once():
    message = (
        "MLP: input_size=0 is given, a whole number of at least 1 is expected; layer_sizes[1]='4' is given, a whole number "
        "of at least 1 is expected; dropout=2 is given, a probability in [0, 1) is expected; activation='than' is given, one "
        "of tanh, relu, gelu, silu, sigmoid, softplus, identity is expected; output_activation=None is given, one of tanh, "
        "relu, gelu, silu, sigmoid, softplus, identity is expected."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        MLP(0, 3, "4", dropout=2, activation="than", output_activation=None)
    with pytest.raises(
        ValueError, match=re.escape("no layer size is given, at least the output's is expected: MLP(64, 128)")
    ):
        MLP(3)


@pytest.mark.parametrize(("shape", "built"), [((2, 4), "4"), ((5, 2, 7), "7"), ((), "...")])
def test_an_input_of_the_wrong_width(shape, built):
    message = (
        f"MLP got input of shape {shape} but input_size=3 asks for (..., 3). "
        f"Check the last dimension, or build it with input_size={built}."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        MLP(3, 4)(torch.zeros(shape))


# ---------------------------------------------------------------- variational dropout


def test_one_mask_per_sequence():
    drop = VariationalDropout(0.25)
    y = drop(torch.ones(5, 40, 50))
    assert y.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert (y[0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.04)
    assert bool((y == y[0]).all())
    assert not torch.equal(y[:, 0], y[:, 1])
    assert not torch.equal(drop(torch.ones(5, 40, 50)), y)


def test_nothing_is_dropped_in_evaluation_or_with_zero():
    x = torch.randn(5, 4, 3)
    assert VariationalDropout(0.5).eval()(x) is x
    assert VariationalDropout(0.0)(x) is x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_keeps_the_dtype(dtype):
    assert VariationalDropout(0.5)(torch.ones(2, 2, 2, dtype=dtype)).dtype == dtype


def test_what_it_refuses():
    with pytest.raises(
        ValueError, match=re.escape("VariationalDropout: p=1 is given, a probability in [0, 1) is expected.")
    ):
        VariationalDropout(1)
    message = "VariationalDropout got input of shape (2, 3), but (T, B, F) is expected."
    with pytest.raises(ValueError, match=re.escape(message)):
        VariationalDropout(0.5)(torch.zeros(2, 3))
    assert repr(VariationalDropout(0.3)) == "VariationalDropout(p=0.3)"
