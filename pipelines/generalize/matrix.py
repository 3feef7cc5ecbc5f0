"""Models of several data sets, each tested on all of them: what carries over, as a table and a heat map."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.compare import compare_metric, measure_metric
from pipelines.drawing import BLUE, FONT, GREY, INK, new_figure, save, short_names
from pipelines.predictions import Predictions
from pipelines.weighted import judged


@dataclass(frozen=True)
class Cell:
    """A model trained on one set, tested on the locked rows of one."""

    train: str
    test: str
    rows: int
    value: float
    low: float
    """The 95 % interval's lower end."""
    high: float
    behind: tuple[float, float, float] | None
    """How much it is above the model of the test set's own training rows, on the same rows, with the 95 % interval
    (paired); below zero where it is behind. None on the diagonal."""
    seen: int
    """Test texts that stand in what the model was made with, whatever their case and spaces."""


@dataclass(frozen=True)
class Matrix:
    """All cells of some data sets."""

    name: str
    metric: str
    sets: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell(self, train: str, test: str) -> Cell:
        """One of them."""
        return next(one for one in self.cells if (one.train, one.test) == (train, test))

    def verdict(self) -> str:
        """In one sentence: which set's model carries over best."""
        means = {
            train: float(np.mean([self.cell(train, test).value for test in self.sets if test != train]))
            for train in self.sets
        }
        best = max(means, key=lambda train: means[train])
        own = float(np.mean([self.cell(one, one).value for one in self.sets]))
        away = float(np.mean(list(means.values())))
        return (
            f"{self.metric} {own:.3f} on average at home and {away:.3f} elsewhere; "
            f"the model of {best} carries over best ({means[best]:.3f} on the others)"
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {**asdict(self), "verdict": self.verdict()}


def fill_matrix(
    name: str,
    said: Mapping[tuple[str, str], Predictions],
    *,
    metric: str,
    sets: Sequence[str],
    seen: Mapping[tuple[str, str], int],
) -> Matrix:
    """The matrix of what each model (first of the pair) said of each set's rows (second), each set's rows in one order.

    `metric` is one of `scores.METRICS`. Raises `ValueError` where rows do not define it.
    """
    cells = [
        _cell(train, test, said, metric=metric, seen=seen.get((train, test), 0)) for train in sets for test in sets
    ]
    return Matrix(name, metric, tuple(sets), tuple(cells))


def _cell(train: str, test: str, said: Mapping[tuple[str, str], Predictions], *, metric: str, seen: int) -> Cell:
    ours, own = said[train, test], said[test, test]
    measured = measure_metric(metric, ours.labels, judged(ours, metric))
    if measured is None:
        raise ValueError(f"the rows of {test} do not define {metric}")
    behind = None
    if train != test and (apart := compare_metric(metric, ours.labels, judged(own, metric), judged(ours, metric))):
        behind = (apart.difference, apart.low, apart.high)
    return Cell(train, test, len(ours.labels), measured.value, measured.low, measured.high, behind, seen)


def draw_matrix(found: Matrix, path: Path) -> None:
    """The heat map as a PNG: rows are where a model was trained, columns where it was tested."""
    from matplotlib.colors import LinearSegmentedColormap

    count, names = len(found.sets), short_names(found.sets)
    figure = new_figure(2.2 + 1.25 * count, 1.4 + 0.95 * count)
    axes = figure.add_subplot()
    values = np.array([[found.cell(train, test).value for test in found.sets] for train in found.sets])
    blues = LinearSegmentedColormap.from_list("blues", ["#f6f8fa", "#9cc9e8", BLUE])
    axes.imshow(values, cmap=blues, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(count), names, family=FONT, color=INK)
    axes.set_yticks(range(count), names, family=FONT, color=INK)
    axes.set_xlabel("tested on", color=GREY, family=FONT)
    axes.set_ylabel("trained on", color=GREY, family=FONT)
    axes.tick_params(bottom=False, left=False)
    axes.spines[:].set_visible(False)
    axes.hlines(np.arange(count - 1) + 0.5, -0.5, count - 0.5, color="white", linewidth=2)
    axes.vlines(np.arange(count - 1) + 0.5, -0.5, count - 0.5, color="white", linewidth=2)
    dark = values.min() + 0.62 * (values.max() - values.min())  # white is read on no lighter blue
    for row, train in enumerate(found.sets):
        for column, test in enumerate(found.sets):
            one = found.cell(train, test)
            colour = "white" if one.value > dark else INK
            text = f"{one.value:.3f}\n{one.low:.3f} to {one.high:.3f}"
            weight = "bold" if train == test else "normal"
            axes.text(column, row, text, ha="center", va="center", color=colour, size=9, family=FONT, weight=weight)
    figure.suptitle(
        f"{found.metric} of models trained on one set and tested on another", size=11, family=FONT, color=INK
    )
    save(figure, path)
