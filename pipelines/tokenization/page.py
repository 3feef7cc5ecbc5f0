"""A comparison as a page for the browser."""

from pathlib import Path

from pipelines.tokenization.comparison import Comparison
from pipelines.tokenization.lengths import CHARACTERS, TEXTS, in_percent
from pipelines.tokenization.picture import draw_lengths
from pipelines.webpage import render_page

_TEMPLATE = Path(__file__).with_name("page.html")


def render(found: Comparison) -> str:
    """The page."""
    values = {
        "found": found,
        "lengths": sorted({cut.length for one in found.measures for cut in one.cuts}),
        "picture": draw_lengths(found.measures),
        "most_tokens": max((one.seen.tokens_per_word or 0 for one in found.measures), default=0) or 1,
        "limits": {"texts": in_percent(TEXTS), "characters": in_percent(CHARACTERS)},
    }
    filters = {"percent": _percent, "number": _number, "whole": lambda value: f"{value:,.0f}"}
    return render_page(_TEMPLATE, values, filters=filters)


def _percent(share: float | None) -> str:
    return "–" if share is None else in_percent(share).replace("under ", "<").replace("over ", ">")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
