"""What was found of a model beyond its own rows, as a page for the browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.generalize.elsewhere import Elsewhere
from pipelines.generalize.picture import draw_shifts
from pipelines.predictions import most_confident_mistakes
from pipelines.scores import METRICS
from pipelines.webpage import render_page

if TYPE_CHECKING:
    from pipelines.generalize.robustness import Robustness

_TEMPLATE = Path(__file__).with_name("page.html")
MEANINGS = {
    **{name: metric.description for name, metric in METRICS.items()},
    "kappa": "agreement of answers and labels beyond chance (Cohen 1960): 1 is perfect, 0 is guessing",
    "overconfidence": "mean confidence less accuracy: above 0 the model is surer than it is right",
}
"""What each measure means, in one line."""


def render_elsewhere(sets: Sequence[Elsewhere], *, model: str, robustness: "Sequence[Robustness]" = ()) -> str:
    """The page of a model on some data sets, and of its robustness where that was tested."""
    values = {
        "model": model,
        "sets": sets,
        "robustness": robustness,
        "picture": draw_shifts(sets) if sets else "",
        "meanings": MEANINGS,
        "mistakes": {one.key: most_confident_mistakes(one.predictions, 8) for one in sets},
    }
    filters = {
        "number": lambda value: f"{value:.3f}",
        "signed": lambda value: f"{value:+.3f}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "whole": lambda value: f"{value:,.0f}",
    }
    return render_page(_TEMPLATE, values, filters=filters)
