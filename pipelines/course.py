"""The picture of a training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.drawing import BLUE, GREEN, GREY, ORANGE, SKY, add_legend, dress, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

DOTTED = 20
"""Up to so many measurements of a training run are drawn as points, too."""


def draw_training(steps: Sequence[Mapping[str, float]], evaluations: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the course of a training run as a PNG: loss and learning rate by step, log loss and accuracy beside them.

    `steps` have the keys step, loss (nats) and learning_rate; `evaluations` have step, log_loss (nats) and accuracy
    (0 to 1). Either may be empty or lack single values, as a run that was just started or has diverged does.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10.5, 5.6)
    (loss, log_loss), (rate, accuracy) = figure.subplots(2, 2, sharex=True, height_ratios=[2, 1])
    x, losses, rates = (_column(steps, key) for key in ("step", "loss", "learning_rate"))
    smooth = _smoothed(losses)
    dress(loss, _course(smooth), y="loss (nats)")
    _line(loss, x, losses, color=SKY, linewidth=0.8, alpha=0.7, label="each step")
    _line(loss, x, smooth, color=BLUE, linewidth=2, label="running mean")
    dress(rate, x="optimizer step", y="learning rate")
    _line(rate, x, rates, color=GREY, linewidth=1.6)
    rate.yaxis.set_major_formatter("{x:.3g}")
    if steps:
        add_legend(loss, None, loc="upper right")
    x, losses, hits = (_column(evaluations, key) for key in ("step", "log_loss", "accuracy"))
    dress(log_loss, _best(x, losses), y="held-out log loss (nats)")
    _line(log_loss, x, losses, color=ORANGE, linewidth=2)
    dress(accuracy, x="optimizer step", y="held-out accuracy")
    _line(accuracy, x, hits, color=GREEN, linewidth=2)
    accuracy.yaxis.set_major_formatter("{x:.1%}")
    rate.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    save(figure, path)


def _line(axes: "Axes", x: Floats, y: Floats, **style: Any) -> None:
    """A line, with its points where they are few; no scale where there is nothing."""
    marker = "o" if len(x) <= DOTTED else None
    axes.plot(x, y, marker=marker, markersize=5, **style)
    if not np.isfinite(y).any():
        axes.set_yticks([])


def _column(rows: Sequence[Mapping[str, float]], key: str) -> Floats:
    return np.array([row.get(key, np.nan) for row in rows], dtype=np.float64)


def _smoothed(values: Floats) -> Floats:
    """Mean over the last twentieth of all steps (fewer at the start); values that are not finite do not count."""
    width = max(1, len(values) // 20)
    finite = np.isfinite(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(finite, values, 0), finite))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(0, last - width)
    with np.errstate(invalid="ignore"):
        means: Floats = (sums[last] - sums[first]) / (counts[last] - counts[first])
    return means


def _course(losses: Floats) -> str:
    known = losses[np.isfinite(losses)]
    if len(known) < 2:
        return f"The training loss starts at {known[0]:.3f}" if len(known) else "No training loss yet"
    return f"The training loss {'fell' if known[-1] < known[0] else 'rose'} from {known[0]:.3f} to {known[-1]:.3f}"


def _best(steps: Floats, losses: Floats) -> str:
    if not np.isfinite(losses).any():
        return "No evaluation yet"
    best = np.nanargmin(np.where(np.isfinite(losses), losses, np.nan))
    return f"The best log loss is {losses[best]:.3f}, at step {steps[best]:,.0f}"
