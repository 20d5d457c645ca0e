"""What the figures are drawn with: two themes, boxes, operators, and lines with round corners."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

Point = tuple[float, float]

STYLE = {
    "font.family": "DejaVu Sans",  # it comes with matplotlib: the same picture on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 10.5,
    "svg.hashsalt": "deeplstm",  # the same file from every run
}


@dataclass(frozen=True)
class Theme:
    """Colours, for one of the two backgrounds a reader may have. The figures themselves have none."""

    name: str
    page: str
    """What lies behind the figure: fills are mixed with it."""
    text: str
    quiet: str
    faint: str
    roles: dict[str, str]
    """One colour for each thing, in every figure the same."""

    def color(self, role: str) -> str:
        return self.roles.get(role, getattr(self, role, role))

    def fill(self, role: str, share: float = 0.16) -> str:
        """A role's colour, mixed with the page's."""
        front, back = to_rgb(self.color(role)), to_rgb(self.page)
        return to_hex([share * f + (1 - share) * b for f, b in zip(front, back, strict=True)])


LIGHT = Theme(
    "light", "#ffffff", "#1f2328", "#59636e", "#c4cbd3",
    {"input": "#0b7f72", "forget": "#c4480c", "cell": "#8250df", "output": "#0969da", "c": "#9a6700", "h": "#57606a",
     "x": "#57606a", "new": "#bf3989"},
)  # fmt: skip
DARK = Theme(
    "dark", "#0d1117", "#f0f6fc", "#9ea7b3", "#3d444d",
    {"input": "#2dd4bf", "forget": "#ff9257", "cell": "#bc8cff", "output": "#58a6ff", "c": "#e3b341", "h": "#adb6c0",
     "x": "#adb6c0", "new": "#ff7bc5"},
)  # fmt: skip
THEMES = (LIGHT, DARK)


class Drawing:
    """A figure in inches, with its origin at the bottom left."""

    def __init__(self, theme: Theme, width: float, height: float) -> None:
        self.theme, self.width, self.height = theme, width, height
        with matplotlib.rc_context(STYLE):
            self.figure = Figure(figsize=(width, height))
            FigureCanvasAgg(self.figure)
            self.page = self.figure.add_axes((0, 0, 1, 1))
        self.page.set(xlim=(0, width), ylim=(0, height))
        self.page.axis("off")

    def text(self, x: float, y: float, words: str, role: str = "text", size: float = 10.5, **options: Any) -> None:
        options = {"ha": "center", "va": "center", **options}
        self.page.text(x, y, words, color=self.theme.color(role), fontsize=size, zorder=5, **options)

    def box(
        self,
        x: float,
        y: float,
        words: str = "",
        role: str = "quiet",
        width: float = 0.9,
        height: float = 0.5,
        size: float = 10.5,
        share: float = 0.16,
    ) -> None:
        """A rounded box around its centre."""
        self.page.add_patch(
            FancyBboxPatch(
                (x - width / 2 + 0.08, y - height / 2 + 0.08),
                width - 0.16,
                height - 0.16,
                boxstyle="round,pad=0.08",
                facecolor=self.theme.fill(role, share),
                edgecolor=self.theme.color(role),
                linewidth=1.4,
                zorder=3,
            )
        )
        if words:
            self.text(x, y, words, size=size, linespacing=1.25)

    def frame(self, left: float, bottom: float, right: float, top: float) -> None:
        """A quiet background that says: this is one step."""
        self.page.add_patch(
            FancyBboxPatch(
                (left + 0.12, bottom + 0.12),
                right - left - 0.24,
                top - bottom - 0.24,
                boxstyle="round,pad=0.12",
                facecolor=self.theme.fill("quiet", 0.07),
                edgecolor=self.theme.color("faint"),
                linewidth=1,
                zorder=0,
            )
        )

    def op(self, x: float, y: float, sign: str, role: str = "text", radius: float = 0.15) -> None:
        """An elementwise operator."""
        edge = self.theme.color(role)
        self.page.add_patch(Circle((x, y), radius, facecolor=self.theme.page, edgecolor=edge, linewidth=1.4, zorder=3))
        arm = 0.55 * radius if sign == "+" else 0.4 * radius
        ends = (
            [((-arm, 0), (arm, 0)), ((0, -arm), (0, arm))]
            if sign == "+"
            else [((-arm, -arm), (arm, arm)), ((-arm, arm), (arm, -arm))]
        )
        for (x0, y0), (x1, y1) in ends:
            self.page.plot([x + x0, x + x1], [y + y0, y + y1], color=self.theme.color("text"), linewidth=1.5, zorder=4)

    def line(
        self,
        *points: Point,
        role: str = "h",
        arrow: bool = True,
        radius: float = 0.12,
        width: float = 1.5,
        style: str = "-",
        zorder: float = 2,
    ) -> None:
        """A line through the points, its corners rounded; an arrow at its end."""
        self.page.add_patch(
            FancyArrowPatch(
                path=_rounded(points, radius),
                arrowstyle="-|>,head_length=6,head_width=2.8" if arrow else "-",
                mutation_scale=1,
                shrinkA=0,
                shrinkB=0,
                linewidth=width,
                linestyle=style,
                color=self.theme.color(role),
                joinstyle="round",
                capstyle="butt",
                zorder=zorder,
            )
        )

    def dot(self, x: float, y: float, role: str = "h") -> None:
        """Where a line forks."""
        self.page.add_patch(Circle((x, y), 0.035, facecolor=self.theme.color(role), edgecolor="none", zorder=3))

    def axes(self, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
        """A plot inside the figure, in the theme's colours."""
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        with matplotlib.rc_context(STYLE):
            axes = self.figure.add_axes(place, **options)
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(self.theme.faint)
        axes.tick_params(colors=self.theme.quiet, labelsize=9, length=3, color=self.theme.faint)
        axes.xaxis.label.set(color=self.theme.quiet, fontsize=10)
        axes.yaxis.label.set(color=self.theme.quiet, fontsize=10)
        return axes

    def save(self, path: Path) -> None:
        """Write the figure in the format of the path's suffix. A PNG is for looking at, so it gets the page's colour."""
        back = {"facecolor": self.theme.page} if path.suffix == ".png" else {"transparent": True}
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(path, metadata=metadata, dpi=110, **back)


def _rounded(points: Sequence[Point], radius: float) -> Line:
    """A path that leaves out each corner and bends around it."""
    vertices, codes = [points[0]], [Line.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
        codes += [Line.LINETO, Line.CURVE3, Line.CURVE3]
    return Line([*vertices, points[-1]], [*codes, Line.LINETO])


def _towards(start: Point, end: Point, distance: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = min(0.5, distance / (dx * dx + dy * dy) ** 0.5)
    return start[0] + share * dx, start[1] + share * dy
