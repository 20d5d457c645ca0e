"""A gate, the LSTM's step, and RNN, GRU and LSTM side by side."""

import numpy as np
import torch
from drawing import Drawing, Theme
from matplotlib.patches import Rectangle


def gate(theme: Theme) -> Drawing:
    """A gate of three inputs and four units in numbers: matrix, bias, sum, sigmoid."""
    N_i, N_c = 3, 4
    with torch.random.fork_rng():
        torch.manual_seed(58)
        W, b, v = torch.randn(N_c, N_i + N_c), torch.randn(N_c) / 2, torch.rand(N_i + N_c) * 2 - 1
    f = torch.sigmoid(W @ v + b)

    d = Drawing(theme, 9, 3.6)
    size, middle = 0.34, 1.7

    def cells(left: float, values: torch.Tensor, role: str, split: int | None = None) -> None:
        """Numbers as squares: the stronger the colour, the further from zero."""
        values = values if values.dim() == 2 else values[:, None]
        n, m = values.shape
        top = middle + n * size / 2
        for i, j in np.ndindex(n, m):
            value = float(values[i, j])
            here = "x" if split is not None and (j if m > 1 else i) < split else role
            y = top - (i + 1) * size
            d.page.add_patch(
                Rectangle(
                    (left + j * size + 0.02, y + 0.02),
                    size - 0.04,
                    size - 0.04,
                    facecolor=theme.fill(here, 0.1 + 0.55 * min(1, abs(value))),
                    edgecolor="none",
                    zorder=3,
                )
            )
            d.text(
                left + (j + 0.5) * size,
                y + 0.5 * size,
                f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−"),
                size=7.5,
            )

    left = 1.05
    cells(left, W, "forget", split=N_i)
    right = left + (N_i + N_c) * size
    d.text(left + N_i * size / 2, middle + 0.87, "$W$", "x", 12)
    d.text(left + (N_i + N_c / 2) * size, middle + 0.87, "$R$", "forget", 12)
    d.text(left - 0.22, middle, "$N_c$", "quiet")
    d.text(left + N_i * size / 2, middle - 0.84, "$N_i$", "quiet")
    d.text(left + (N_i + N_c / 2) * size, middle - 0.84, "$N_c$", "quiet")
    d.text((left + right) / 2, 0.3, "matrix", "quiet", 9.5)
    d.text(right + 0.26, middle, "@", size=13)
    vector = right + 0.52
    cells(vector, v[:, None], "forget", split=N_i)
    d.text(vector + size + 0.1, middle + (N_c / 2) * size, "$x$", "x", 12, ha="left")
    d.text(vector + size + 0.1, middle - (N_i / 2) * size, r"$h_{prev}$", "forget", 12, ha="left")
    d.text(vector + size / 2, 0.3, "what it reads", "quiet", 9.5)
    d.text(vector + 1.02, middle, "+", size=15)
    bias = vector + 1.28
    cells(bias, b, "forget")
    d.text(bias + size / 2, middle + 0.87, "$b$", "forget", 12)
    d.text(bias + size / 2, 0.3, "bias", "quiet", 9.5)
    box = bias + 1.35
    d.line((bias + size + 0.08, middle), (box - 0.52, middle))
    d.box(box, middle, role="forget", width=1.04, height=0.86)
    s = np.linspace(-5, 5, 60)
    curve = middle - 0.27 + 0.54 / (1 + np.exp(-s))
    d.page.plot(box + s * 0.085, curve, color=theme.color("forget"), linewidth=2, zorder=4)
    d.text(box, 0.3, "sigmoid", "quiet", 9.5)
    gate_x = box + 0.98
    d.line((box + 0.52, middle), (gate_x - 0.06, middle))
    cells(gate_x, f, "forget")
    d.text(gate_x + size / 2, middle + 0.87, "$f$", "forget", 12)
    d.text(gate_x + size / 2, 0.3, "gate", "quiet", 9.5)
    d.text(4.5, 3.3, r"$f = \sigma(W x + R\, h_{prev} + b)$", size=13)
    return d


def lstm(theme: Theme) -> Drawing:
    """One step of an LSTM, everything named."""
    d = Drawing(theme, 9, 4.5)
    d.frame(1.15, 0.72, 7.85, 4.05)
    top, gates, bus, write, show = 3.55, 1.5, 0.95, 2.55, 2.1
    at = {"forget": 2.05, "input": 3.4, "cell": 4.75, "output": 6.1}
    for name, sign in (("forget", "f"), ("input", "i"), ("cell", "g"), ("output", "o")):
        act = r"\tanh" if name == "cell" else r"\sigma"
        d.box(at[name], gates, f"{name} gate\n${sign} = {act}$", name, width=1.12, height=0.6, size=10)
        if name != "output":
            d.dot(at[name], bus)
            d.line((at[name], bus), (at[name], gates - 0.3), role="h")
    # what is read: h_prev from the left, x from below
    d.line((0.55, bus), (at["output"], bus), (at["output"], gates - 0.3), role="h")
    d.line((1.6, 0.38), (1.6, bus), arrow=False, role="h")
    d.dot(1.6, bus)
    # the memory, from left to right
    d.line((0.55, top), (at["forget"] - 0.16, top), role="c", width=2.6)
    d.line((at["forget"] + 0.15, top), (at["cell"] - 0.16, top), role="c", width=2.6)
    d.line((at["cell"] + 0.15, top), (8.4, top), role="c", width=2.6)
    d.op(at["forget"], top, "×", "c")
    d.op(at["cell"], top, "+", "c")
    d.line((at["forget"], gates + 0.3), (at["forget"], top - 0.16), role="forget")
    d.line((at["input"], gates + 0.3), (at["input"], write), (at["cell"] - 0.16, write), role="input")
    d.op(at["cell"], write, "×", "c")
    d.line((at["cell"], gates + 0.3), (at["cell"], write - 0.16), role="cell")
    d.line((at["cell"], write + 0.15), (at["cell"], top - 0.16), role="c")
    # what is shown
    out = 7.15
    d.dot(out, top, "c")
    d.line((out, top), (out, 3.1), role="c")
    d.box(out, 2.88, r"$\tanh$", "c", width=0.72, height=0.4, size=10)
    d.line((out, 2.68), (out, show + 0.16), role="c")
    d.op(out, show, "×", "h")
    d.line((at["output"], gates + 0.3), (at["output"], show), (out - 0.16, show), role="output")
    d.line((out, show - 0.15), (out, bus), (8.4, bus), role="h")
    d.text(0.48, top + 0.02, r"$c_{prev}$", "c", 12.5, ha="right")
    d.text(0.48, bus, r"$h_{prev}$", "h", 12.5, ha="right")
    d.text(1.6, 0.24, "$x$", "x", 12.5)
    d.text(8.5, top + 0.02, "$c$", "c", 12.5, ha="left")
    d.text(8.5, bus, "$h$", "h", 12.5, ha="left")
    d.text(at["forget"] + 0.26, top - 0.26, "keep", "quiet", 9.5, ha="left")
    d.text(at["cell"] + 0.26, write + 0.02, "write", "quiet", 9.5, ha="left")
    d.text(out + 0.24, show + 0.02, "show", "quiet", 9.5, ha="left")
    d.text(3.45, 3.78, r"$c = f \cdot c_{prev} + i \cdot g$", "c", 11)
    d.text(7.85, 0.5, r"$h = o \cdot \tanh(c)$", "h", 11, ha="right")
    return d


def three_cells(theme: Theme) -> Drawing:
    """RNN, GRU and LSTM, drawn alike."""
    d = Drawing(theme, 9, 3.6)
    for left, name, under in (
        (0, "RNN", "no gate"),
        (3, "GRU", "two gates, one state"),
        (6, "LSTM", "three gates, two states"),
    ):
        d.frame(left + 0.5, 0.55, left + 2.6, 2.95)
        d.text(left + 1.55, 3.38, name, size=13, fontweight="bold")
        d.text(left + 1.55, 3.12, under, "quiet", 9.5)
        d.text(left + 0.75, 0.12, "$x$", "x", 11)
        d.line((left + 0.75, 0.26), (left + 0.75, 0.8), arrow=False)
        d.dot(left + 0.75, 0.8)
    _rnn(d, 0)
    _gru(d, 3)
    _small_lstm(d, 6)
    return d


TOP, GATES, BUS = 2.6, 1.3, 0.8


def _small(d: Drawing, x: float, words: str, role: str) -> None:
    d.box(x, GATES, words, role, width=0.44, height=0.4, size=10.5)


def _rnn(d: Drawing, left: float) -> None:
    d.line((left + 0.06, BUS), (left + 1.55, BUS), (left + 1.55, GATES - 0.2))
    d.box(left + 1.55, GATES, r"$\tanh$", "cell", width=0.66, height=0.4)
    d.line((left + 1.55, GATES + 0.2), (left + 1.55, TOP), (left + 2.95, TOP))
    d.text(left + 0.22, BUS + 0.05, r"$h_{prev}$", "h", 10, va="bottom")
    d.text(left + 2.78, TOP + 0.08, "$h$", "h", 10, va="bottom")


def _gru(d: Drawing, left: float) -> None:
    z, r, n, mix = left + 0.98, left + 1.6, left + 2.25, 1.98
    d.line((left + 0.06, TOP), (z - 0.13, TOP), width=2.4, role="c")
    d.line((z + 0.12, TOP), (n - 0.13, TOP), width=2.4, role="c")
    d.line((n + 0.12, TOP), (left + 2.95, TOP), width=2.4, role="c")
    d.dot(left + 0.32, TOP, "c")
    d.line((left + 0.32, TOP), (left + 0.32, BUS), (n, BUS), (n, GATES - 0.2))
    for x, words, role in ((z, "$z$", "forget"), (r, "$r$", "output"), (n, "$n$", "cell")):
        _small(d, x, words, role)
    for x in (z, r):
        d.dot(x, BUS)
        d.line((x, BUS), (x, GATES - 0.2))
    d.line((r + 0.22, GATES), (n - 0.22, GATES), role="output")
    d.op(z, TOP, "×", "c", 0.12)
    d.op(n, TOP, "+", "c", 0.12)
    d.op(n, mix, "×", "c", 0.12)
    d.line((z, GATES + 0.2), (z, TOP - 0.13), role="forget")
    d.dot(z, mix, "forget")
    d.line((z, mix), (n - 0.13, mix), role="forget")
    d.text((z + n) / 2, mix + 0.12, r"$1 - z$", "forget", 9)
    d.line((n, GATES + 0.2), (n, mix - 0.13), role="cell")
    d.line((n, mix + 0.12), (n, TOP - 0.13), role="c")
    d.text(left + 0.2, TOP + 0.06, r"$h_{prev}$", "c", 10, va="bottom")
    d.text(left + 2.78, TOP + 0.08, "$h$", "c", 10, va="bottom")


def _small_lstm(d: Drawing, left: float) -> None:
    f, i, g, o = (left + at for at in (0.98, 1.4, 1.82, 2.24))
    write, show = 1.98, 1.82
    out = left + 2.45
    d.line((left + 0.06, BUS), (o, BUS), (o, GATES - 0.2))
    for x, words, role in ((f, "$f$", "forget"), (i, "$i$", "input"), (g, "$g$", "cell"), (o, "$o$", "output")):
        d.box(x, GATES, words, role, width=0.36, height=0.4)
        if x != o:
            d.dot(x, BUS)
            d.line((x, BUS), (x, GATES - 0.2))
    d.line((left + 0.06, TOP), (f - 0.13, TOP), role="c", width=2.4)
    d.line((f + 0.12, TOP), (g - 0.13, TOP), role="c", width=2.4)
    d.line((g + 0.12, TOP), (left + 2.95, TOP), role="c", width=2.4)
    d.op(f, TOP, "×", "c", 0.12)
    d.op(g, TOP, "+", "c", 0.12)
    d.op(g, write, "×", "c", 0.12)
    d.line((f, GATES + 0.2), (f, TOP - 0.13), role="forget")
    d.line((i, GATES + 0.2), (i, write), (g - 0.13, write), role="input")
    d.line((g, GATES + 0.2), (g, write - 0.13), role="cell")
    d.line((g, write + 0.12), (g, TOP - 0.13), role="c")
    d.dot(out - 0.21, TOP, "c")
    d.line((out - 0.21, TOP), (out - 0.21, show + 0.13), role="c")
    d.text(out - 0.16, 2.25, "tanh", "quiet", 8, ha="left")
    d.op(out - 0.21, show, "×", "h", 0.12)
    d.line((o, GATES + 0.2), (o, show - 0.13), role="output")
    d.line((out - 0.09, show), (left + 2.95, show), role="h")
    d.text(left + 0.22, TOP + 0.06, r"$c_{prev}$", "c", 10, va="bottom")
    d.text(left + 2.78, TOP + 0.08, "$c$", "c", 10, va="bottom")
    d.text(left + 0.22, BUS + 0.05, r"$h_{prev}$", "h", 10, va="bottom")
    d.text(left + 2.78, show + 0.07, "$h$", "h", 10, va="bottom")
