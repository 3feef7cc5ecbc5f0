"""The picture of a screening: what each checkpoint promises against what it costs."""

from typing import TYPE_CHECKING

from markupsafe import Markup

from pipelines.drawing import BLUE, FONT, GREY, INK, ORANGE, PALE, new_figure
from pipelines.screening.comparison import Screening
from pipelines.screening.measures import Measures
from pipelines.webpage import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_front(found: Screening) -> Markup:
    """An SVG element: linear probe against seconds per 1,000 texts, with the front of those that no other beats."""
    figure = new_figure(9.6, 4.6, pad=0.02)
    axes = figure.add_subplot()
    _dress(axes, found)
    front = sorted((one for one in found.measures if one.name in found.front), key=lambda one: one.seconds_per_1000)
    axes.plot(*_places(front), color=ORANGE, linewidth=1.4, drawstyle="steps-post", zorder=2)
    for one in found.measures:
        _draw(axes, one, kept=one.name in found.shortlist)
    return drawn(figure, salt="screening")


def _dress(axes: "Axes", found: Screening) -> None:
    axes.set_xscale("log")
    seconds = [one.seconds_per_1000 for one in found.measures]
    axes.set_xlim(min(seconds) / 1.6, max(seconds) * 1.9)
    axes.set_xlabel("seconds for 1,000 texts (logarithmic)", color=GREY, size=9, family=FONT)
    axes.set_ylabel("right by linear probe, %", color=GREY, size=9, family=FONT)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(labelsize=9, colors=GREY, labelfontfamily=FONT, bottom=False, left=False, which="both")
    axes.grid(visible=True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    guess = 100 * found.basis.majority
    axes.axhline(guess, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate("guessing", (axes.get_xlim()[0], guess), (3, 4), textcoords="offset points", color=GREY, size=8)


def _places(measures: list[Measures]) -> tuple[list[float], list[float]]:
    return [one.seconds_per_1000 for one in measures], [100 * one.linear.accuracy for one in measures]


def _draw(axes: "Axes", one: Measures, *, kept: bool) -> None:
    """A point as large as the model, with two standard errors up and down, and its name."""
    x, y = one.seconds_per_1000, 100 * one.linear.accuracy
    colour, size = BLUE if kept else GREY, 4 + 3.2 * (one.parameters / 1e6) ** 0.25
    axes.errorbar(x, y, yerr=200 * one.linear.error, color=colour, linewidth=1.4, fmt="o", markersize=size, zorder=3)
    axes.annotate(
        one.label.rpartition("/")[2],
        (x, y),
        (size / 2 + 5, 5),
        textcoords="offset points",
        color=INK if kept else GREY,
        weight="bold" if kept else "normal",
        size=9,
        family=FONT,
        parse_math=False,
    )
