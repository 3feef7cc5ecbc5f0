"""How all pictures look: colours, font, quiet axes, a finding as their headline.

Everything is drawn on `Figure` objects of our own, never through pyplot, so that threads can draw side by side. No
text is parsed as mathematics, and characters that the font lacks are replaced: class names are the user's text.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Okabe and Ito 2008: told apart by colour-blind people, too.
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
INK, GREY, PALE = "#22272e", "#6b7280", "#e5e7eb"
DPI = 110
FONT = "DejaVu Sans"
"""matplotlib brings it along, so that the pictures look the same everywhere."""


def short_names(names: Sequence[str], limit: int = 22) -> list[str]:
    """Names that fit a picture: one line, at most `limit` characters, drawable in our font, still all different.

    What is too long loses its middle to an ellipsis; names that the font cannot write at all become `class 3`.
    """
    drawn = [" ".join("".join(c if ord(c) in _glyphs() else " " for c in name).split()) for name in names]
    drawn = [name or f"class {index}" for index, name in enumerate(drawn)]
    half = (limit - 1) // 2
    drawn = [name if len(name) <= limit else f"{name[:half].rstrip()}…{name[-half:].lstrip()}" for name in drawn]
    drawn = [f"{index}: {name}" if drawn.count(name) > 1 else name for index, name in enumerate(drawn)]
    return [name.replace("$", r"\$") for name in drawn]


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def new_figure(width: float, height: float, *, pad: float = 0.1) -> "Figure":
    """A figure of `width` x `height` inches that keeps its parts from overlapping, with `pad` inches around them."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad)
    return Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def dress(axes: "Axes", title: str = "", *, x: str = "", y: str = "") -> None:
    """The common look: quiet axes, the data in front."""
    # A fixed height of the title spares matplotlib a search for a free one, a tenth of the time.
    axes.set_title(title, loc="left", color=INK, size=11, weight="bold", family=FONT, pad=8, y=1)
    axes.set_xlabel(x, color=INK, size=10, family=FONT)
    axes.set_ylabel(y, color=INK, size=10, family=FONT)
    axes.tick_params(labelsize=9, colors=GREY, labelfontfamily=FONT, bottom=False, left=False)
    axes.grid(visible=True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def add_headline(axes: "Axes", headline: str, subtitle: str) -> None:
    """The finding as a bold sentence at the figure's left edge, what it means in grey below it."""
    # The empty second line makes room for the subtitle, which the layout does not see.
    axes.figure.suptitle(f"{headline}\n ", x=0.02, ha="left", color=INK, size=12, weight="bold", family=FONT)
    place: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "offset points", "in_layout": False}
    axes.annotate(subtitle, (0.02, 1), (0, -37), color=GREY, size=10, family=FONT, annotation_clip=False, **place)


def add_legend(axes: "Axes", title: str | None, *, loc: str, outside: bool = False) -> None:
    """A legend without a frame, in the axes at `loc` or to the right of them."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.02, 1)} if outside else {"loc": loc}
    legend = axes.legend(title=title, fontsize=9, labelcolor=INK, frameon=not outside, framealpha=0.9, **place)
    legend.get_frame().set_linewidth(0)
    legend.get_title().set(size=9, weight="bold", color=INK)
    legend.set_alignment("left")


def blues() -> "Colormap":
    """From nearly white to a dark blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#f6f8fa", "#9cc9e8", BLUE, "#003a66"])


def percent(value: float, _position: int | None = None) -> str:
    """A tick's label for a share."""
    return f"{value:.0%}"


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG; its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # `savefig` would draw twice: once for the layout, once for the file.
    FigureCanvasAgg(figure).print_png(path, pil_kwargs={"compress_level": 3})
    return path
