"""Values at the edge: huge and infinite pre-activations, NaN, long sequences: as in plain PyTorch, and no NaN of our own."""

import pytest
import torch

from checks import flat, gradients, state_of
from deeplstm import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, backend
from table import CELLS, cells

BACKENDS = ["auto", "reference"]
BOUNDED = [case for case in CELLS if case.options.get("nonlinearity") != "relu"]


@cells(BOUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pre_activations_of_ten_thousand(case, dtype):
    layer = Recurrent(case.make(dtype=dtype))
    x = torch.randn(4, 3, 3, dtype=dtype).sign().mul(1e4).requires_grad_()
    state = state_of(layer.cell, 3, dtype)
    results = layer(x, state)
    for value in (*flat(results), *gradients(results, [x, *flat(state), *layer.parameters()])):
        assert bool(value.isfinite().all())
    assert results[0].abs().max() <= 1e5  # a projection may give more than 1


@cells()
def test_zeros_everywhere(case):
    layer = Recurrent(case.make())
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
    x = torch.zeros(3, 2, 3, dtype=torch.float64, requires_grad=True)
    results = layer(x)
    for value in (*flat(results), *gradients(results, [x, *layer.parameters()])):
        assert bool(value.isfinite().all())


@pytest.mark.parametrize("name", BACKENDS)
def test_a_cell_state_that_counts_for_long(name):
    """f = i = g = 1 adds one at every step; the output saturates and nothing overflows."""
    layer = Recurrent(LSTMCell(1, 2))
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        layer.cell.bias_ih.fill_(1e4)
    x = torch.zeros(2000, 1, 1, requires_grad=True)
    with backend(name):
        y, (h, c) = layer(x)
    assert c.tolist() == [[2000.0, 2000.0]]
    assert bool((y[50:] == 1).all())
    assert bool(gradients([y, h, c], [x])[0].isfinite().all())


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("where", ["input", "state", "weight"])
def test_what_is_not_finite_behaves_as_in_plain_pytorch(name, kind, value, where):
    """In float64, where torch itself runs its plain equations; the fused kernels of float32 have their own ways."""
    torch.manual_seed(2)
    ours = kind(3, 4).double()
    theirs = getattr(torch.nn, kind.__name__)(3, 4).double()
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    state = tuple(torch.randn(1, 2, 4, dtype=torch.float64) for _ in range(2))
    if where == "input":
        x[1, 0, 2] = value
    elif where == "state":
        state[0][0, 1, 3] = value
    else:
        with torch.no_grad():
            ours.weight_ih_l0[2, 1] = value
    theirs.load_state_dict(ours.state_dict())
    hx = state if kind is LSTM else state[0]
    with backend(name):
        got = ours(x, hx)
    torch.testing.assert_close(got, theirs(x, hx), equal_nan=True)


@cells()
@pytest.mark.parametrize("where", ["input", "state"])
def test_a_nan_stays_in_its_row(case, where):
    layer = Recurrent(case.make().eval())
    x = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)
    state = state_of(layer.cell, 3)
    clean = layer(x, state)
    bad_x, bad_state = x.detach().clone(), [s.detach().clone() for s in flat(state)]
    (bad_x[1, 1] if where == "input" else bad_state[0][1]).fill_(float("nan"))
    bad_x.requires_grad_()
    spoiled = layer(bad_x, tuple(bad_state) if isinstance(state, tuple) else bad_state[0])
    for before, after in zip(flat(clean), flat(spoiled), strict=True):
        torch.testing.assert_close(after[..., [0, 2], :], before[..., [0, 2], :])
    assert bool(spoiled[0][:, 1].isnan().any())
    before, after = gradients(clean, [x])[0], gradients(spoiled, [bad_x])[0]
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("lengths", [None, [4, 2, 3]])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_a_nan_stays_in_its_row_of_a_fused_kernel(kind, lengths):
    net, x = kind(3, 40, 2), torch.randn(4, 3, 3)
    clean = net(x, lengths=lengths)[0]
    x[0, 1] = float("nan")
    torch.testing.assert_close(net(x, lengths=lengths)[0][:, [0, 2]], clean[:, [0, 2]])


@cells()
def test_no_step_and_no_row(case):
    layer = Recurrent(case.make())
    for T, B in ((0, 2), (3, 0), (0, 0)):
        state = state_of(layer.cell, B)
        y, new = layer(torch.zeros(T, B, 3, dtype=torch.float64), state)
        assert y.shape == (T, B, layer.output_size)
        assert y.dtype == torch.float64
        assert all(torch.equal(a, b) for a, b in zip(flat(new), flat(state), strict=True))


@pytest.mark.parametrize("name", BACKENDS)
def test_results_are_the_same_from_run_to_run(name):
    net, x = LSTM(7, 33, 2, bidirectional=True), torch.randn(9, 5, 7, requires_grad=True)
    found = []
    for _ in range(2):
        with backend(name):
            results = net(x, lengths=[9, 3, 0, 5, 9])
        found.append([*flat(results), *gradients(results, [x, *net.parameters()])])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell])
def test_everything_masked_still_has_a_gradient(cell):
    """A batch whose rows are all empty: zeros out, zero gradients, no error in a training loop."""
    layer, x = Recurrent(cell(3, 4)), torch.randn(3, 2, 3)
    y, _ = layer(x, lengths=[0, 0])
    y.sum().backward()
    assert bool((y == 0).all())
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in layer.parameters())
