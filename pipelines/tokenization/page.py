"""A comparison as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from pipelines.tokenization.comparison import Comparison
from pipelines.tokenization.lengths import CHARACTERS, TEXTS, in_percent
from pipelines.tokenization.picture import draw_lengths

_TEMPLATE = Path(__file__).with_name("page.html")


def render(found: Comparison) -> str:
    """The page. Every text in it is escaped by the template engine; the picture is an SVG element of our own."""
    # Undefined names must fail, not vanish: a page with a hole looks whole.
    pages = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"percent": _percent, "number": _number, "whole": lambda value: f"{value:,.0f}"}
    picture = Markup(draw_lengths(found.measures))
    lengths = sorted({cut.length for one in found.measures for cut in one.cuts})
    return pages.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        lengths=lengths,
        picture=picture,
        most_tokens=max((one.seen.tokens_per_word or 0 for one in found.measures), default=0) or 1,
        limits={"texts": in_percent(TEXTS), "characters": in_percent(CHARACTERS)},
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else in_percent(share).replace("under ", "<").replace("over ", ">")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
