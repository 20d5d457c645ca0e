"""Cells of a few drawn lines: kernels equal the reference, whatever their programs have in them, before and after the loop."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from checks import assert_same, flat, state_of
from deeplstm import scan

UNARY = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "softmax": lambda v: torch.softmax(v, 1),
    "norm": lambda v: F.layer_norm(v, v.shape[1:]),
    "clamp": lambda v: v.clamp(-0.5, 0.7),
    "detach": lambda v: v.detach(),
    "mean": lambda v: v - v.mean(1, keepdim=True),
    "repeated": lambda v: v.amax(1, keepdim=True).expand_as(v),
}
BINARY = {
    "add": torch.add,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "where": lambda a, b: torch.where(a > b, a, b * 0.5),
    "cut": lambda a, b: torch.cat([a[:, :1], b[:, 1:]], 1),
    "together": lambda a, b: a * torch.cat([a, b], 1).mean(1, keepdim=True),
}
H, I = 3, 2


class Drawn(nn.Module):
    """Values one after another, each of earlier ones, H wide. Some are squashed to new states, and one is the output: as it
    is, without a gradient, or through a hidden layer.
    """

    input_size = I

    def __init__(self, lines, new, output):
        super().__init__()
        self.state_size = (H,) * len(new)
        self.lines, self.new, self.output = lines, new, output
        self.inputs = nn.Linear(I, H)
        self.linears = nn.ModuleList(nn.Linear(H, H) for _ in lines)
        self.first, self.second = nn.Linear(H, 2), nn.Linear(2, 2)

    def forward(self, x, state):
        values = [self.inputs(x), *state]
        for linear, (name, a, b) in zip(self.linears, self.lines, strict=True):
            a, b = values[a % len(values)], values[b % len(values)]
            values.append(linear(a) if name == "linear" else UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        # h itself added, as often as not
        new = tuple(
            torch.tanh(values[n % len(values)] + (h if is_added else 0))
            for (n, is_added), h in zip(self.new, state, strict=True)
        )
        values += new
        name, n = self.output
        y = values[n % len(values)]
        if name == "detached":
            y = y.detach()
        elif name in UNARY:
            y = self.second(UNARY[name](self.first(y)))
        return y, new

    def __repr__(self):
        return f"Drawn({self.lines}, {self.new}, {self.output})"


places = st.integers(0, 11)
names = st.sampled_from([*UNARY, *BINARY, *["linear"] * 6])
drawn = st.builds(
    Drawn,
    st.lists(st.tuples(names, places, places), min_size=1, max_size=6),
    st.lists(st.tuples(places, st.booleans()), min_size=1, max_size=2),
    st.tuples(st.sampled_from(["detached", "detached", "as it is", "relu", "silu", "gelu"]), places),
)


@settings(max_examples=25)
@given(
    drawn, st.sampled_from(["save", "recompute"]), st.sampled_from([True, True, False]), st.booleans(), st.booleans()
)
def test_a_drawn_cell(cell, memory, has_resets, has_lengths, reverse):
    torch.manual_seed(0)
    for parameter in cell.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    cell = cell.double()
    x = torch.randn(4, 3, I, dtype=torch.float64, requires_grad=True)
    state = state_of(cell, 3)
    options = {"memory": memory, "reverse": reverse, "lengths": [2, 4, 0] if has_lengths else None}
    if has_resets:
        options["resets"] = torch.rand(4, 3) < 0.4
    calls = [lambda n=n: scan(cell, None, x, state, backend=n, **options) for n in ("cpu", "reference")]
    assert_same(*calls, [x, *flat(state), *cell.parameters()], rtol=1e-9, atol=1e-10)
