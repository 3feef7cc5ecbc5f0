"""The picture of a comparison: how long the texts are for each tokenizer, and what each `max_length` cuts off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipelines.drawing import BLUE, FONT, GREY, INK, ORANGE, PALE, new_figure
from pipelines.tokenization.lengths import in_percent
from pipelines.tokenization.measuring import Measures
from pipelines.webpage import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTH = 0.12  # standard deviation of the curve's kernel, in doublings of the length
_HEIGHT = 0.7  # of a curve, in rows


def draw_lengths(measures: Sequence[Measures]) -> Markup:
    """An SVG element: one curve of lengths for each tokenizer, what its recommended `max_length` cuts in orange."""
    figure, axes = _panel(len(measures))
    low, high = _range(measures)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    ticks = sorted({cut.length for one in measures for cut in one.cuts if low <= cut.length <= high})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    rows = -np.arange(len(measures), dtype=np.float64)
    axes.set_yticks(rows, [one.candidate.name for one in measures], parse_math=False, color=INK, family=FONT, size=10)
    axes.set_ylim(rows[-1] - 0.3, 0.85)
    for row, one in zip(rows.tolist(), measures, strict=True):
        _draw_curve(axes, one, row=row, low=low, high=high)
    return drawn(figure, salt="tokenizers")


def _panel(rows: int) -> "tuple[Figure, Axes]":
    figure = new_figure(9.6, 0.8 + 0.82 * rows, pad=0.02)
    axes = figure.add_subplot()
    axes.set_xlabel("tokens of a text, special ones included", color=GREY, size=9, family=FONT)
    axes.tick_params(labelsize=9, colors=GREY, labelfontfamily=FONT, bottom=False, left=False)
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return figure, axes


def _range(measures: Sequence[Measures]) -> tuple[float, float]:
    """What the axis shows: all lengths but the very shortest, and every length that is recommended."""
    shortest = min(float(np.quantile(one.lengths, 0.005)) for one in measures)  # a few shorter ones would be no sight
    longest = max(int(one.lengths.max()) for one in measures)
    recommended = [one.recommended.length for one in measures]
    return 0.8 * max(1, min(shortest, *recommended)), 1.25 * max(longest, *recommended)


def _draw_curve(axes: "Axes", one: Measures, *, row: float, low: float, high: float) -> None:
    limit = one.recommended.length
    x, y = _density(one.lengths, low, high)
    y = row + _HEIGHT * y / y.max()
    axes.plot([low, high], [row, row], color=PALE, linewidth=0.8)
    axes.fill_between(x[x <= limit], row, y[x <= limit], color=BLUE, linewidth=0, alpha=0.85)
    if (one.lengths > limit).any():
        axes.fill_between(x[x >= limit], row, y[x >= limit], color=ORANGE, linewidth=0, alpha=0.85)
    axes.plot([limit, limit], [row, row + _HEIGHT], color=INK, linewidth=1.4)
    for cut in one.cuts:
        if low <= cut.length <= high:
            chosen = cut.length == limit
            style: dict[str, Any] = {"color": INK if chosen else GREY, "weight": "bold" if chosen else "normal"}
            axes.text(cut.length, row - 0.19, _cutting(cut.texts), ha="center", size=7.5, family=FONT, **style)


def _cutting(share: float) -> str:
    if not share:
        return "cuts none"
    return f"cuts {100 * share:.0f} %" if share >= 0.1 else f"cuts {in_percent(share)}"


def _density(lengths: NDArray[np.int64], low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth curve of how frequent lengths are, on a scale of doublings: x (points,), y (points,)."""
    from scipy.ndimage import gaussian_filter1d

    edges = np.linspace(np.log2(low), np.log2(high), 601)
    counts, _ = np.histogram(np.log2(np.maximum(lengths, 1)), bins=edges)
    y = gaussian_filter1d(counts.astype(np.float64), _SMOOTH / (edges[1] - edges[0]), mode="constant")
    return 2 ** ((edges[:-1] + edges[1:]) / 2), y
