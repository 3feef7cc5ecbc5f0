"""The picture of a model on several data sets: its accuracy on each, with intervals, against that at home."""

from collections.abc import Sequence

from markupsafe import Markup

from pipelines.drawing import BLUE, FONT, GREY, INK, ORANGE, PALE, new_figure, short_names
from pipelines.generalize.elsewhere import Elsewhere
from pipelines.webpage import drawn


def draw_shifts(sets: Sequence[Elsewhere]) -> Markup:
    """One row for each data set: the accuracy with its interval, at home in grey; orange where it is surely worse."""
    figure = new_figure(9.6, 0.9 + 0.55 * len(sets), pad=0.02)
    axes = figure.add_subplot()
    for place, one in enumerate(sets):
        accuracy = one.by_measure["accuracy"]
        if accuracy.home is not None:
            axes.plot([accuracy.home.low, accuracy.home.high], [-place, -place], color=PALE, linewidth=9, zorder=1)
            axes.plot([accuracy.home.value], [-place], color=GREY, marker="|", markersize=13, markeredgewidth=2)
        colour = ORANGE if accuracy.worse is not None and accuracy.worse.low > 0 else BLUE
        axes.plot([accuracy.there.low, accuracy.there.high], [-place, -place], color=colour, linewidth=2.4)
        axes.plot([accuracy.there.value], [-place], color=colour, marker="o", markersize=7)
    names = short_names([one.key for one in sets])
    axes.set_yticks([-place for place in range(len(sets))], names, color=INK, family=FONT, size=10)
    axes.set_ylim(-len(sets) + 0.5, 0.5)
    axes.set_xlabel("accuracy", color=GREY, size=9, family=FONT)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.tick_params(labelsize=9, colors=GREY, labelfontfamily=FONT, bottom=False, left=False)
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return drawn(figure, salt="elsewhere")
