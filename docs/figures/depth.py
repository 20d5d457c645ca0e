"""Two layers over time, and the five places for depth."""

from drawing import Drawing, Theme

COLUMNS = (1.0, 2.05, 3.1)
ROWS = (1.15, 2.35)


def stack(theme: Theme) -> Drawing:
    """Left: the h of layer 1 is what layer 2 reads. Right: layer 1's last state is where layer 2 starts."""
    d = Drawing(theme, 9, 3.95)
    d.text(2.2, 3.68, "a stack", size=13, fontweight="bold")
    d.text(6.75, 3.68, "h as an initial state", size=13, fontweight="bold")
    for left in (0.15, 4.7):
        for layer, y in enumerate(ROWS):
            if left < 1:
                d.text(left + 0.02, y + 0.42, f"layer {layer + 1}", "quiet", 9.5, ha="left")
            role = "output" if layer else "input"
            for n, x in enumerate(COLUMNS):
                d.box(left + x, y, "LSTM", role, width=0.72, height=0.46)
                if n:
                    d.line((left + COLUMNS[n - 1] + 0.36, y), (left + x - 0.36, y), role=role)
    left = 0.15
    for n, x in enumerate(COLUMNS):
        d.text(left + x, 0.2, f"$x_{n + 1}$", "x", 11.5)
        d.line((left + x, 0.36), (left + x, ROWS[0] - 0.23))
        d.line((left + x, ROWS[0] + 0.23), (left + x, ROWS[1] - 0.23), role="input", width=2.4)
        d.text(left + x + 0.07, 1.78, f"$h^1_{n + 1}$", "input", 10.5, ha="left")
        d.line((left + x, ROWS[1] + 0.23), (left + x, 3.0), role="output")
        d.text(left + x, 3.18, f"$y_{n + 1}$", "output", 11.5)
    for layer, y in enumerate(ROWS):
        role = "output" if layer else "input"
        d.line((left + 0.26, y), (left + COLUMNS[0] - 0.36, y), role=role)
        d.text(left + 0.2, y, "0", role, 10.5, ha="right")
        d.line((left + COLUMNS[-1] + 0.36, y), (left + 3.85, y), role=role)
        d.text(left + 3.72, y + 0.17, f"$h^{layer + 1}, c^{layer + 1}$", role, 10)

    left = 4.7
    for n, x in enumerate(COLUMNS):
        d.text(left + x, 0.2, f"$x_{n + 1}$", "x", 11.5)
        d.line((left + x, 0.36), (left + x, ROWS[0] - 0.23))
        # x goes past layer 1: layer 2 reads it once more
        d.dot(left + x, 0.56)
        side = left + x - 0.44
        d.line((left + x, 0.56), (side, 0.56), (side, 1.9), (left + x, 1.9), (left + x, ROWS[1] - 0.23), role="h")
        d.line((left + x, ROWS[1] + 0.23), (left + x, 3.0), role="output")
        d.text(left + x, 3.18, f"$y_{n + 1}$", "output", 11.5)
    d.line((left + 0.26, ROWS[0]), (left + COLUMNS[0] - 0.36, ROWS[0]), role="input")
    d.text(left + 0.2, ROWS[0], "0", "input", 10.5, ha="right")
    over = 1.62
    d.line(
        (left + COLUMNS[-1] + 0.36, ROWS[0]), (left + 3.72, ROWS[0]), (left + 3.72, over), (left + 0.12, over),
        (left + 0.12, ROWS[1]), (left + COLUMNS[0] - 0.36, ROWS[1]), role="new", width=2.4,
    )  # fmt: skip
    d.text(left + 3.8, 1.4, "$h^1_3, c^1_3$", "new", 10.5, ha="left", va="center")
    d.line((left + COLUMNS[-1] + 0.36, ROWS[1]), (left + 3.85, ROWS[1]), role="output")
    return d


def five_places(theme: Theme) -> Drawing:
    """What each place adds, in one colour."""
    d = Drawing(theme, 9, 4.1)
    centres = [0.95 + 1.775 * n for n in range(5)]
    for n, (x, name) in enumerate(zip(centres, ("stack", "before", "after", "across", "inside"), strict=True)):
        d.text(x, 3.85, f"{n + 1}  {name}", size=12, fontweight="bold")
        d.text(x, 0.16, "$x$", "x", 11.5)
        d.text(x, 3.5, "$y$", "h", 11.5)
    low, middle, high = 0.85, 1.8, 2.75

    def column(x: float, *layers: tuple[float, str, str]) -> None:
        """Layers above each other, from x to y; a recurrent one has its loop."""
        before = 0.3
        for y, words, role in layers:
            d.line((x, before), (x, y - 0.22), role="h")
            d.box(x, y, words, role, width=0.8, height=0.44, share=0.26 if role == "new" else 0.12)
            if words != "MLP":
                loop(x, y, role)
            before = y + 0.22
        d.line((x, before), (x, 3.36), role="h")

    def loop(x: float, y: float, role: str) -> None:
        right = x + 0.4
        d.line(
            (right, y + 0.08),
            (right + 0.2, y + 0.08),
            (right + 0.2, y - 0.1),
            (right, y - 0.1),
            role=role,
            radius=0.07,
            width=1.3,
        )

    column(centres[0], (low, "LSTM", "h"), (middle, "LSTM", "new"), (high, "LSTM", "new"))
    column(centres[1], (low + 0.3, "MLP", "new"), (high - 0.3, "LSTM", "h"))
    column(centres[2], (low, "LSTM", "h"), (middle, "MLP", "new"), (high, "LSTM", "h"))
    x = centres[3]
    column(x, (low, "LSTM", "h"), (high - 0.35, "LSTM", "h"))
    for y in (low, high - 0.35):
        start, end = y - 0.39, y + 0.42
        d.dot(x, start, "new")
        d.line((x, start), (x - 0.58, start), (x - 0.58, end), (x - 0.13, end), role="new", width=2.2)
        d.op(x, end, "+", "new", 0.12)
    x = centres[4]
    d.line((x, 0.3), (x, 0.85))
    d.frame(x - 0.78, 0.62, x + 0.78, 3.05)
    reads, hidden = [x - 0.4, x, x + 0.4], [x - 0.54, x - 0.18, x + 0.18, x + 0.54]
    for a in hidden:
        for b in reads:
            d.page.plot([b, a], [0.98, 1.56], color=theme.color("new"), alpha=0.45, linewidth=0.8, zorder=2)
        for b in hidden:
            d.page.plot([a, b], [1.56, 2.14], color=theme.color("new"), alpha=0.45, linewidth=0.8, zorder=2)
    for b in reads:
        node(d, b, 0.98, "h")
    for a in hidden:
        node(d, a, 1.56, "new")
    for a, gate, role in zip(hidden, "ifgo", ("input", "forget", "cell", "output"), strict=True):
        d.box(a, 2.22, f"${gate}$", role, width=0.32, height=0.34, size=9.5)
        d.line((a, 2.39), (a, 2.58), role=role, width=1.2, arrow=False)
    d.box(x, 2.74, "$c, h$", "h", width=1.36, height=0.34, size=9.5)
    d.line((x, 2.91), (x, 3.36))
    return d


def node(d: Drawing, x: float, y: float, role: str) -> None:
    d.page.plot(
        [x],
        [y],
        "o",
        markersize=8,
        markerfacecolor=d.theme.fill(role, 0.5),
        markeredgecolor=d.theme.color(role),
        zorder=3,
    )
