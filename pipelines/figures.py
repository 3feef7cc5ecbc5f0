"""The pictures of predictions: how good they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    SKY,
    add_headline,
    add_legend,
    blues,
    dress,
    new_figure,
    percent,
    save,
    short_names,
)
from pipelines.predictions import Predictions
from pipelines.scores import calibration, confusion, ranked_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

CURVES = 10
"""So many classes get a curve of their own; among more, the weakest."""
NUMBERED = 50
"""Up to so many classes the cells of the confusion matrix carry their numbers."""
WITH_SHARES = 8
"""Up to so many classes the cells also carry their share of the true class, instead of a colour bar."""
GRID: Floats = np.linspace(0, 1, 201)
_DASHED: Mapping[str, Any] = {"color": GREY, "linewidth": 1.2, "linestyle": (0, (4, 3))}


def draw_report(predictions: Predictions, directory: Path) -> list[Path]:
    """Draw the five pictures of one split's predictions into `directory`, made if absent; the paths of the PNG files.

    `confusion_matrix.png`, `roc_curve.png`, `pr_curve.png`, `calibration_curve.png`, `confidence.png`. A picture that
    is not defined for these rows says why. Raises `ValueError` where there are no rows.
    """
    if not len(predictions.labels):
        raise ValueError("there are no rows to draw")
    drawings: dict[str, Callable[[Predictions], Figure]] = {
        "confusion_matrix": _confusion_matrix,
        "roc_curve": _roc_curve,
        "pr_curve": _pr_curve,
        "calibration_curve": _calibration_curve,
        "confidence": _confidence,
    }
    directory.mkdir(parents=True, exist_ok=True)
    return [save(draw(predictions), directory / f"{name}.png") for name, draw in drawings.items()]


def _confusion_matrix(predictions: Predictions) -> "Figure":
    table, names = confusion(predictions), short_names(predictions.names)
    rows, classes = table.sum(axis=1, keepdims=True), len(names)
    shares = np.divide(table, rows, out=np.zeros(table.shape), where=rows > 0)
    margin = 0.08 * max(map(len, names)) + 0.5
    cell = min(max(0.34, 3.4 / classes), 17 / classes)
    slanted = margin - 0.5 > cell * 1.05
    figure = new_figure(margin + cell * classes + 0.9, cell * classes * 0.9 + (margin if slanted else 0.8) + 0.8)
    axes = figure.add_subplot()
    dress(axes, x="predicted class", y="true class")
    headline = f"{predictions.correct.mean():.1%} of {_texts(len(predictions.labels))} classified correctly"
    add_headline(axes, headline, _worst_mistake(table, names))
    image = axes.imshow(shares, cmap=blues(), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    shown = range(0, classes, -(-classes // NUMBERED))
    slant: dict[str, Any] = {"rotation": 90 if classes > 8 else 35, "ha": "right", "rotation_mode": "anchor"}
    slant |= {"va": "center"} if classes > 8 else {}
    axes.set_xticks(shown, [names[index] for index in shown], **(slant if slanted else {}))
    axes.set_yticks(shown, [names[index] for index in shown])
    axes.grid(visible=False)
    if classes <= NUMBERED:
        _number_cells(axes, table, shares)
    if classes > WITH_SHARES:
        bar = figure.colorbar(image, ax=axes, fraction=0.03, shrink=3 / (cell * classes), anchor=(0, 1), format=percent)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class", color=GREY, size=9)
        bar.ax.tick_params(labelsize=8, colors=GREY, right=False)
    return figure


def _worst_mistake(table: NDArray[np.int64], names: Sequence[str]) -> str:
    mistakes = np.where(np.eye(len(table), dtype=bool), 0, table)
    true, guess = divmod(int(mistakes.argmax()), len(table))
    if not mistakes.any():
        return "No mistakes"
    return f"Most often mistaken: {names[true]} for {names[guess]} ({_texts(int(mistakes.max()))})"


def _number_cells(axes: "Axes", table: NDArray[np.int64], shares: Floats) -> None:
    """Write the counts; empty cells stay empty, which is also what keeps many classes fast to draw."""
    few = len(table) <= WITH_SHARES
    for row, column in np.argwhere(table).tolist():
        share = shares[row, column]
        text = f"{table[row, column]:,}" + (f"\n{share:.0%}" if few else "")
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=colour, size=10 if few else 7.5, in_layout=False)


def _roc_curve(predictions: Predictions) -> "Figure":
    from sklearn import metrics

    def curve(positive: NDArray[np.bool_], scores: Floats) -> Curve:
        x, y, _ = metrics.roc_curve(positive, scores)
        return Curve(metrics.auc(x, y), x, y, mean=np.interp(GRID, x, y) * (GRID > 0))

    curves = _curves(predictions, curve)
    figure, axes = _square(predictions)
    if not curves:
        return _undefined(figure, axes, "ROC curve")
    names = short_names(predictions.names)
    which = f"a text of “{names[1]}” above another" if len(names) == 2 else "a class's text above another, on average"
    area = np.mean([curve.area for curve in curves.values()])
    dress(axes, x="false positive rate", y="true positive rate (recall)")
    add_headline(axes, f"{area:.1%} of pairs are ranked the right way round", which)
    axes.plot([0, 1], [0, 1], label="0.500  guessing", **_DASHED)
    _draw_curves(axes, curves, names)
    add_legend(axes, "AUROC", outside=len(names) > 2, loc="lower right")
    return figure


def _pr_curve(predictions: Predictions) -> "Figure":
    from sklearn import metrics

    def curve(positive: NDArray[np.bool_], scores: Floats) -> Curve:
        precision, recall, _ = metrics.precision_recall_curve(positive, scores)
        x, y = recall[::-1], precision[::-1]
        area, mean = metrics.average_precision_score(positive, scores), y[np.searchsorted(x, GRID)]
        # Between two points the precision is that of the higher recall: the steps whose area is the average precision.
        return Curve(area, np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:], mean=mean)

    curves = _curves(predictions, curve)
    figure, axes = _square(predictions)
    if not curves:
        return _undefined(figure, axes, "precision-recall curve")
    area = np.mean([curve.area for curve in curves.values()])
    base = np.mean([(predictions.labels == index).mean() for index in curves])
    dress(axes, x="recall", y="precision")
    subtitle = "mean precision over all levels of recall" + (", mean of the classes" if len(curves) > 1 else "")
    add_headline(axes, f"Average precision is {area:.3f}, guessing reaches {base:.3f}", subtitle)
    axes.plot([0, 1], [base, base], label=f"{base:.3f}  guessing", **_DASHED)
    names = short_names(predictions.names)
    _draw_curves(axes, curves, names)
    add_legend(axes, "Average precision", outside=len(names) > 2, loc="lower left")
    return figure


@dataclass(frozen=True, eq=False)
class Curve:
    """How well one class is ranked before the rest."""

    area: float
    """0 to 1."""
    x: Floats
    """(points,) rising."""
    y: Floats
    """(points,)"""
    mean: Floats
    """(201,) the curve's heights on `GRID`, for the mean over classes."""


def _curves(predictions: Predictions, curve: Callable[[NDArray[np.bool_], Floats], Curve]) -> dict[int, Curve]:
    return {
        index: curve(predictions.labels == index, predictions.probabilities[:, index])
        for index in ranked_classes(predictions)
    }


def _draw_curves(axes: "Axes", curves: Mapping[int, Curve], names: Sequence[str]) -> None:
    """One line for each class with its area in the legend, the best first; of many classes the weakest."""
    if len(names) == 2:
        curve = curves[1]
        axes.fill_between(curve.x, curve.y, color=BLUE, alpha=0.08, linewidth=0)
        axes.plot(curve.x, curve.y, color=BLUE, linewidth=2.2, label=f"{curve.area:.3f}  {names[1]}")
        return
    area, mean = (np.mean([getattr(curve, part) for curve in curves.values()], axis=0) for part in ("area", "mean"))
    axes.plot(GRID, mean, color=INK, linewidth=2.8, label=f"{area:.3f}  mean of {len(curves)} classes", zorder=3)
    weakest = sorted(curves, key=lambda index: curves[index].area)[:CURVES]
    styles = [(colour, style) for style in ("-", (0, (3, 1.5))) for colour in (BLUE, ORANGE, GREEN, PINK, SKY)]
    for index, (colour, style) in zip(weakest[::-1], styles, strict=False):
        curve = curves[index]
        label = f"{curve.area:.3f}  {names[index]}"
        axes.plot(curve.x, curve.y, color=colour, linestyle=style, linewidth=1.3, label=label)


def _calibration_curve(predictions: Predictions) -> "Figure":
    bins = calibration(predictions)
    low, gap = 1 / len(predictions.names), float(predictions.confidence.mean() - predictions.correct.mean())
    figure = new_figure(5.6, 6.0)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    headline = f"The model is {abs(gap) * 100:.1f} points too {'sure' if gap > 0 else 'unsure'} of itself"
    if abs(gap) < 0.0005:
        headline = "On average the model is as sure as it is right"
    dress(axes, y="accuracy")
    add_headline(axes, headline, f"expected calibration error (ECE) {bins.error:.3f}, {len(bins.counts)} bins")
    axes.plot([0, 1], [0, 1], label="perfectly calibrated", **_DASHED)
    used = bins.counts > 0
    x, y = bins.confidence[used], bins.accuracy[used]
    bottom, top = _wilson(y, bins.counts[used])
    axes.vlines(x, bottom, top, color=BLUE, alpha=0.3, linewidth=5, label="95 % interval")
    axes.plot(x, y, color=BLUE, linewidth=1.6, marker="o", markersize=6, label="the model")
    axes.set(xlim=(low, 1.01), ylim=(-0.01, 1.02))
    axes.yaxis.set_major_formatter(percent)
    add_legend(axes, None, loc="lower right")
    edges = np.linspace(0, 1, len(bins.counts) + 1)
    dress(below, x="confidence (probability of the predicted class)", y="texts")
    _histogram(below, bins.counts, edges, colour=GREY)
    below.xaxis.set_major_formatter(percent)
    return figure


def _wilson(shares: Floats, counts: NDArray[np.int64], z: float = 1.96) -> tuple[Floats, Floats]:
    """The 95 % interval of shares seen among `counts` rows (Wilson 1927)."""
    centre = (shares + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(shares * (1 - shares) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return centre - half, centre + half


def _confidence(predictions: Predictions) -> "Figure":
    confidence, correct = predictions.confidence, predictions.correct
    low = 1 / len(predictions.names)
    figure = new_figure(6.4, 4.8)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, chosen, word, colour in zip(panels, (correct, ~correct), ("right", "wrong"), (BLUE, ORANGE), strict=True):
        values = confidence[chosen]
        dress(axes, _sureness(values, word), y="texts")
        _histogram(axes, *np.histogram(values, bins=30, range=(low, 1)), colour=colour)
        axes.set(xlim=(low, 1))
        if len(values):
            axes.axvline(float(np.median(values)), color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
    panels[1].set_xlabel("confidence (probability of the predicted class)")
    panels[1].xaxis.set_major_formatter(percent)
    return figure


def _histogram(axes: "Axes", counts: NDArray[np.int64], edges: Floats, *, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.stairs(counts, edges, fill=True, color=colour)
    axes.set_ylim(0, max(1, 1.05 * counts.max()))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _sureness(confidence: Floats, word: str) -> str:
    if len(confidence) < 2:
        return f"1 {word} prediction, {confidence[0]:.1%} sure" if len(confidence) else f"No {word} prediction"
    return f"{len(confidence):,} {word} predictions: half are surer than {np.median(confidence):.1%}"


def _square(predictions: Predictions) -> "tuple[Figure, Axes]":
    """Square axes for rates, with room for a legend at the right where there are many classes."""
    figure = new_figure(5.4 if len(predictions.names) == 2 else 8.0, 5.4)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    return figure, axes


def _undefined(figure: "Figure", axes: "Axes", what: str) -> "Figure":
    add_headline(axes, f"There is no {what}", "All rows are of one class: there is nothing to rank it against")
    dress(axes)
    axes.set(xticks=[], yticks=[])
    return figure


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count:,} texts"
