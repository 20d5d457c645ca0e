"""The cells of examples/cells: equal to their equations, right on every backend, and able to learn."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import deeplstm
from deeplstm.testing import check_cell

FOLDER = Path(__file__).parents[2] / "examples" / "cells"
I, H = 3, 4


def class_in(path):
    """The one cell of a file, which need not be on the path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (cell,) = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == path.stem]
    return cell


CELLS = {cell.__name__: cell for cell in map(class_in, sorted(FOLDER.glob("*.py")))}
every_cell = pytest.mark.parametrize("name", CELLS)


def made(name, **options):
    """A cell with every parameter drawn, so that none of them is without effect."""
    cell = CELLS[name](I, H, **options).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.normal_(0.0, 0.7)
    return cell


# ---------------------------------------------------------------- the equations once more: NumPy, one row


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def cat(*vectors):
    return np.concatenate(vectors)


def lstm(sums, c):
    """An LSTM's step from its four sums, in the order i, f, g, o."""
    i, f, g, o = sums
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def minimal_gated_unit(w, x, h):
    f = sigmoid(w["forget.weight"] @ cat(h, x) + w["forget.bias"])
    n = np.tanh(w["candidate.weight"] @ cat(f * h, x) + w["candidate.bias"])
    return [(1 - f) * h + f * n] * 2


def janet(w, x, h):
    s = w["weight_ih"][:H] @ x + w["weight_hh"][:H] @ h + w["bias"][:H]
    n = np.tanh(w["weight_ih"][H:] @ x + w["weight_hh"][H:] @ h + w["bias"][H:])
    return [sigmoid(s) * h + (1 - sigmoid(s - 1)) * n] * 2


def mut1(w, x, h):
    z = sigmoid(w["W_z"] @ x + w["b_z"])
    r = sigmoid(w["W_r"] @ x + w["R_r"] @ h + w["b_r"])
    n = np.tanh(w["R_n"] @ (r * h) + np.tanh(w["W_n"] @ x) + w["b_n"])
    return [n * z + h * (1 - z)] * 2


def fast_grnn(w, x, h):
    a = w["W.weight"] @ x + w["U.weight"] @ h
    z, n = sigmoid(a + w["bias_gate"]), np.tanh(a + w["bias_update"])
    return [(sigmoid(w["zeta"]) * (1 - z) + sigmoid(w["nu"])) * n + z * h] * 2


def antisymmetric(w, x, h):
    A = np.array([[w["W"][i, j] - w["W"][j, i] - (0.01 if i == j else 0) for j in range(H)] for i in range(H)])
    z = sigmoid(A @ h + w["V_z.weight"] @ x + w["V_z.bias"])
    return [h + 0.1 * z * np.tanh(A @ h + w["V.weight"] @ x + w["V.bias"])] * 2


def nested_lstm(w, x, h, c, d):
    i, f, g, o = np.split(w["outer.weight"] @ cat(x, h) + w["outer.bias"], 4)
    read = cat(sigmoid(i) * np.tanh(g), sigmoid(f) * c)
    c, d = lstm(np.split(w["inner.weight"] @ read + w["inner.bias"], 4), d)
    h = sigmoid(o) * np.tanh(c)
    return h, h, c, d


def mlp_gate_lstm(w, x, h, c):
    i, g, o = np.split(w["gates.weight"] @ cat(h, x) + w["gates.bias"], 3)
    hidden = np.tanh(w["forget.0.weight"] @ cat(h, x) + w["forget.0.bias"])
    h, c = lstm((i, w["forget.2.weight"] @ hidden + w["forget.2.bias"], g, o), c)
    return h, h, c


def norm_peek_lstm(w, x, h, c):
    i, f, g, o = np.split(w["from_x.weight"] @ x + w["from_x.bias"] + w["from_h.weight"] @ h, 4)
    v = (c - c.mean()) / np.sqrt(((c - c.mean()) ** 2).mean() + 1e-5) * w["peek.weight"] + w["peek.bias"]
    h, c = lstm((i, f + v, g, o), c)
    return h, h, c


def softmax_gru(w, x, h):
    k, write, r = np.exp(np.split(w["gates.weight"] @ cat(x, h) + w["gates.bias"], 3))
    total = k + write + r
    n = np.tanh(w["candidate.weight"] @ cat(x, r / total * h) + w["candidate.bias"])
    return [k / total * h + write / total * n] * 2


def fast_slow(w, x, u, s):
    u = np.tanh(w["fast.weight"] @ cat(u, x) + w["fast.bias"] + w["slow_to_fast.weight"] @ s)
    a = sigmoid(w["rate"])
    s = (1 - a) * s + a * np.tanh(w["slow.weight"] @ cat(u, s) + w["slow.bias"])
    return cat(u, s), u, s


EQUATIONS = {
    "MinimalGatedUnit": minimal_gated_unit,
    "JANET": janet,
    "MUT1": mut1,
    "FastGRNN": fast_grnn,
    "AntisymmetricRNN": antisymmetric,
    "NestedLSTM": nested_lstm,
    "MLPGateLSTM": mlp_gate_lstm,
    "NormPeekLSTM": norm_peek_lstm,
    "SoftmaxGRU": softmax_gru,
    "FastSlow": fast_slow,
}


@every_cell
def test_a_step_equals_the_equations(name):
    cell, B = made(name), 3
    sizes = cell.state_size if isinstance(cell.state_size, tuple) else (cell.state_size,)
    x, state = torch.randn(B, I).double(), tuple(torch.randn(B, size).double() for size in sizes)
    with torch.no_grad():
        output, new = cell(x, state if isinstance(cell.state_size, tuple) else state[0])
    found = (output, *(new if isinstance(new, tuple) else (new,)))
    weights = {n: p.detach().numpy() for n, p in cell.named_parameters()}
    for b in range(B):
        expected = EQUATIONS[name](weights, x[b].numpy(), *(s[b].numpy() for s in state))
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got[b].numpy(), want, rtol=1e-10, atol=1e-12)


def test_the_simple_antisymmetric_cell_is_the_gated_one_with_open_gates():
    simple, gated = made("AntisymmetricRNN", gated=False), made("AntisymmetricRNN")
    gated.load_state_dict(simple.state_dict(), strict=False)
    with torch.no_grad():
        gated.V_z.bias.fill_(1e3)
    x, h = torch.randn(2, I).double(), torch.randn(2, H).double()
    torch.testing.assert_close(simple(x, h), gated(x, h))


# ---------------------------------------------------------------- what each can do


@every_cell
def test_it_is_right_on_every_backend(name):
    check_cell(made(name), backends=["cpu"])


@every_cell
def test_it_learns(name):
    """The mean of the last three inputs, from a network that is the cell and one linear layer."""
    cell = CELLS[name](2, 8)
    layer, readout = deeplstm.Recurrent(cell), torch.nn.Linear(cell.output_size, 2)
    x = torch.randn(8, 16, 2)
    target = (x[2:] + x[1:-1] + x[:-2]) / 3
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.03)
    losses = []
    for _ in range(25):
        loss = (readout(layer(x)[0][2:]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@every_cell
def test_it_takes_a_place_in_a_stack(name):
    cell = CELLS[name](I, H)
    y, _ = deeplstm.Stack(cell, deeplstm.GRUCell(cell.output_size, 5))(torch.randn(4, 2, I), lengths=[4, 1])
    assert y.shape == (4, 2, 5)


def test_the_readme_lists_every_cell_and_its_lines_run(monkeypatch):
    text = (FOLDER / "README.md").read_text("utf-8")
    rows = re.findall(r"\]\((\w+\.py)\) \| `(.*)` \|", text)
    assert sorted(file for file, _ in rows) == sorted(path.name for path in FOLDER.glob("*.py"))
    for file, line in rows:
        layer = eval(line, {"deeplstm": deeplstm, **CELLS})
        assert type(layer.cell).__name__ == class_in(FOLDER / file).__name__
    monkeypatch.syspath_prepend(FOLDER)
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(block, "examples/cells/README.md", "exec"), {})
