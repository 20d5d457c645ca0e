"""How the gradient goes back: the picture of two steps, and what arrives, measured."""

from collections.abc import Callable
from functools import cache

import torch
from drawing import Drawing, Theme

import deeplstm

STEPS, UNITS, DRAWS = 60, 64, 8
BOTTOM = 1e-9
CELLS: list[tuple[str, str, str, Callable[[], torch.nn.Module]]] = [
    ("RNN", "new", "-", lambda: deeplstm.RNNCell(UNITS, UNITS)),
    ("LSTM, bias 0", "output", "-", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=0.0)),
    ("GRU", "input", "--", lambda: deeplstm.GRUCell(UNITS, UNITS)),
    ("LSTM, bias 1", "output", "-", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=1.0)),
    ("LSTM, bias 3", "output", "-", lambda: deeplstm.LSTMCell(UNITS, UNITS, forget_bias=3.0)),
]
"""Name, role of its colour, style of its line, what makes it. The bias is that of the forget gate."""


@cache
def arriving() -> list[list[float]]:
    """For each cell the norm of the gradient of the last output with respect to the input k steps before, k = 0 on.

    Untrained cells, torch's start; the mean over draws, relative to k = 0. Inputs and upstream gradient are standard normal.
    """
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for *_, make in CELLS:
            norms = torch.zeros(STEPS, dtype=torch.float64)
            for _ in range(DRAWS):
                x = torch.randn(STEPS, 4, UNITS, dtype=torch.float64, requires_grad=True)
                y, _ = deeplstm.Recurrent(make().double())(x)
                (dx,) = torch.autograd.grad(y[-1], x, torch.randn_like(y[-1]))
                norms += dx.norm(dim=(1, 2)).flip(0)
            found.append((norms / norms[0]).tolist())
    return found


def gradient(theme: Theme) -> Drawing:
    """Left: the way back through two steps. Right: what arrives."""
    d = Drawing(theme, 9, 3.7)
    _two_steps(d)
    axes = d.axes(5.35, 0.72, 2.5, 2.6)
    axes.set(yscale="log", ylim=(BOTTOM, 10), xlim=(0, STEPS - 1), yticks=[1e-9, 1e-6, 1e-3, 1])
    right = d.width - 1.1
    for (name, role, style, _), norms in zip(CELLS, arriving(), strict=True):
        axes.plot(range(STEPS), norms, color=theme.color(role), linewidth=2, linestyle=style)
        end = max(k for k, norm in enumerate(norms) if norm > BOTTOM)
        k = end if end == STEPS - 1 else end // 2
        _, y = d.page.transData.inverted().transform(axes.transData.transform((k, norms[k])))
        x = 5.35 + 2.5 * k / (STEPS - 1)
        if end == STEPS - 1:
            d.text(right - 0.03, y, name, role, 9, ha="left")
        elif name == "RNN":
            d.text(x - 0.06, y - 0.08, name, role, 9, ha="right")
        elif name == "GRU":
            d.text(x + 0.08, y + 0.1, name, role, 9, ha="left")
        else:  # beside the GRU's line, at its end
            d.text(5.35 + 2.5 * end / (STEPS - 1) + 0.08, 0.84, name, role, 9, ha="left")
    axes.set_xlabel("steps back")
    axes.minorticks_off()
    d.text(5.35, 3.5, "gradient that arrives", "quiet", 10, ha="left")
    return d


def _two_steps(d: Drawing) -> None:
    top, low = 2.75, 1.5
    d.line((4.75, top), (4.06, top), role="c", width=2.6)
    d.line((4.75, low), (3.62, low), role="h")
    for n, left in enumerate((0.35, 2.5)):
        d.frame(left, 0.95, left + 1.9, 3.25)
        d.text(left + 0.95, 3.48, f"step {n + 1}", "quiet", 10)
        keep, fork, add = left + 0.42, left + 0.92, left + 1.4
        d.op(add, top, "+", "c")
        d.line((add - 0.15, top), (keep + 0.16, top), role="c", width=2.6)
        d.op(keep, top, "×", "c")
        d.text(keep, top + 0.27, f"$f_{n + 1}$", "forget", 11)
        d.dot(fork, top, "c")
        d.line((fork, top), (fork, low + 0.2), role="c")
        d.box(left + 0.72, low, "gates", "h", width=0.8, height=0.4)
        d.dot(add, low)
        d.line((add, low), (add, top - 0.16), role="h")
        d.line((left + 0.72, low - 0.2), (left + 0.72, 0.62), role="new")
        before = left - 2.15  # where the step before has its left side
        d.line((keep - 0.15, top), (before + 1.56 if n else 0.04, top), role="c", width=2.6)
        d.line((left + 0.32, low), (before + 1.12 if n else 0.04, low), role="h")
    d.text(2.15, 0.42, "dW, dR, db: the sum over steps", "new", 10)
    d.text(4.62, top + 0.17, "$dc$", "c", 11)
    d.text(4.62, low + 0.17, "$dh$", "h", 11)
