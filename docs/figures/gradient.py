"""How the gradient goes back: the picture of two steps, and what arrives, measured."""

from collections.abc import Callable
from functools import cache

import torch
from drawing import Drawing, Theme

import deeplstm

STEPS, UNITS, DRAWS = 60, 64, 8
CELLS: list[tuple[str, str, Callable[[], torch.nn.Module]]] = [
    ("RNN", "h", lambda: deeplstm.RNNCell(UNITS, UNITS)),
    ("GRU", "cell", lambda: deeplstm.GRUCell(UNITS, UNITS)),
    ("LSTM, forget bias 0", "output", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=0.0)),
    ("1", "output", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=1.0)),
    ("3", "output", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=3.0)),
    ("5", "output", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=5.0)),
]


@cache
def arriving() -> list[list[float]]:
    """For each cell the norm of the gradient of the last output with respect to the input k steps before, k = 0 on.

    Untrained cells, torch's start; the mean over draws, relative to k = 0. Inputs and upstream gradient are standard normal.
    """
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _, _, make in CELLS:
            norms = torch.zeros(STEPS, dtype=torch.float64)
            for _ in range(DRAWS):
                x = torch.randn(STEPS, 4, UNITS, dtype=torch.float64, requires_grad=True)
                y, _ = deeplstm.Recurrent(make().double())(x)
                (dx,) = torch.autograd.grad(y[-1], x, torch.randn_like(y[-1]))
                norms += dx.norm(dim=(1, 2)).flip(0)
            found.append((norms / norms[0]).tolist())
    return found


def gradient(theme: Theme) -> Drawing:
    d = Drawing(theme, 9, 3.7)
    _two_steps(d)
    axes = d.axes(5.1, 0.62, 2.85, 2.75)
    for (name, role, _), norms in zip(CELLS, arriving(), strict=True):
        axes.plot(range(STEPS), norms, color=theme.color(role), linewidth=2)
    axes.set(yscale="log", ylim=(1e-12, 30), xlim=(0, STEPS - 1), xlabel="k, steps before", yticks=[1e-12, 1e-9, 1e-6, 1e-3, 1])
    axes.minorticks_off()
    d.text(5.1, 3.52, "gradient that arrives", "quiet", 10, ha="left")
    place = axes.transData
    for (name, role, _), norms in zip(CELLS, arriving(), strict=True):
        k = next((k for k, norm in enumerate(norms) if norm < 2e-12), STEPS - 1)
        _, y = d.page.transData.inverted().transform(place.transform((k, norms[k])))
        if k == STEPS - 1:
            d.text(8.02, y, name, role, 9.5, ha="left")
    return d


def _two_steps(d: Drawing) -> None:
    top, low = 2.75, 1.15
    for n, left in enumerate((0.35, 2.4)):
        d.frame(left, 0.7, left + 1.75, 3.2)
        x = left + 0.6
        d.text(left + 0.875, 0.4, f"step {n + 1}", "quiet", 9.5)
        d.op(x, top, "×", "c")
        d.text(x, top + 0.26, f"$f_{n + 1}$", "forget", 10.5)
        d.box(left + 0.98, low, "gates", "h", width=0.8, height=0.42)
        d.line((left + 1.3, top), (left + 1.3, low + 0.21), role="c", width=1.4)
    # from right to left
    ends = [4.55, 3.0, 0.95]
    for n, x in enumerate(ends):
        start = x if n == 0 else x - 0.15
        end = ends[n + 1] + 0.16 if n < 2 else 0.05
        d.line((start, top), (end, top), role="c", width=3)
    d.line((4.55, low), (2.4 + 1.38, low), role="h")
    d.line((2.4 + 0.58, low), (0.35 + 1.38, low), role="h")
    d.line((0.35 + 0.58, low), (0.05, low), role="h")
    d.text(2.25, top + 0.18, r"$dc$", "c", 11)
    d.text(2.25, low + 0.17, r"$dh$", "h", 11)
