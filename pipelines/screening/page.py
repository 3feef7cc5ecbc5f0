"""A screening as a page for the browser."""

from pathlib import Path

from pipelines.screening.comparison import Screening
from pipelines.screening.picture import draw_front
from pipelines.screening.verdict import duration
from pipelines.webpage import render_page

_TEMPLATE = Path(__file__).with_name("page.html")


def render(found: Screening) -> str:
    """The page."""
    filters = {
        "percent": lambda share: f"{100 * share:.1f} %",
        "score": lambda value: f"{value:.3f}",
        "whole": lambda value: f"{value:,.0f}",
        "parameters": in_millions,
        "duration": lambda seconds: "–" if seconds is None else duration(seconds),
        "megabytes": lambda count: f"{count / 1e6:,.0f} MB",
    }
    return render_page(_TEMPLATE, {"found": found, "picture": draw_front(found)}, filters=filters)


def in_millions(parameters: int) -> str:
    """`22.7 M`."""
    return f"{parameters / 1e6:,.1f} M" if parameters >= 50_000 else f"{parameters:,}"
