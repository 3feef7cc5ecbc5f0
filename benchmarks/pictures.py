"""The pictures of the search benchmark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.simulation import Trace, goal
from benchmarks.table import Table

_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#9A9A9A", "#000000", "#F0E442")
_POINTS = 400


def draw_searches(
    traces: Mapping[str, Sequence[Trace]], table: Table, path: Path, *, until: float, workers: int
) -> None:
    """Draw what each tool would deliver against what it has cost, and how many searches are at the goal by then."""
    figure, (quality, share) = _figure()
    costs = np.linspace(0.0, until, _POINTS)
    for (name, found), colour in zip(traces.items(), _COLOURS, strict=False):
        style = {"color": colour, "linewidth": 2.6 if name == "ours" else 1.5, "zorder": 4 if name == "ours" else 3}
        _best_so_far(quality, found, costs, name, style)
        reached = np.array([trace.reached(goal(table)) for trace in found])
        share.plot(costs, (reached[:, None] <= costs).mean(axis=0), label=name, **style)
    quality.axhline(100 * goal(table), color="#9A9A9A", linestyle=":", label="best of the table - 0.5 points")
    quality.set(xlim=(0, until), ylim=(100 * (table.best - 0.03), 100 * float(table.scores.max()) + 0.1))
    quality.set(xlabel="cost in epoch-units", ylabel="accuracy of what is delivered, %")
    quality.set_title(f"Best so far: mean of {len(next(iter(traces.values())))} searches, 95 % band", loc="left")
    share.set(xlim=(0, until), ylim=(0, 1.02), xlabel="cost in epoch-units", ylabel="share of searches")
    share.set_title("Searches within 0.5 points of the best", loc="left")
    quality.legend(frameon=False, loc="lower right", fontsize=8)
    figure.suptitle(f"Search cost, replayed over stored learning curves, {workers} workers")
    figure.savefig(path)


def _best_so_far(axes: Any, found: Sequence[Trace], costs: Any, name: str, style: dict[str, Any]) -> None:
    """The mean of what is delivered, with the interval of that mean."""
    values = 100 * np.array([trace.at(costs) for trace in found])
    middle, half = values.mean(axis=0), 1.96 * values.std(axis=0) / np.sqrt(len(values))
    axes.plot(costs, middle, label=name, **style)
    axes.fill_between(costs, middle - half, middle + half, color=style["color"], alpha=0.15, linewidth=0)


def _figure() -> tuple[Any, Any]:
    """Two axes side by side, in the style of the reports."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.8), dpi=110, layout="constrained")
    pair = figure.subplots(1, 2)
    for axes in pair:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, pair
