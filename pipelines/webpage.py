"""Pages for the browser: one HTML file that needs nothing else, no script, no font, no picture from anywhere."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from pipelines.drawing import BLUE, GREY, INK, ORANGE, PALE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HERE = Path(__file__).parent
_VARIABLES = {INK: "--ink", GREY: "--muted", PALE: "--line", BLUE: "--accent", ORANGE: "--warn"}


def render_page(template: Path, values: Mapping[str, Any], *, filters: Mapping[str, Callable[..., str]]) -> str:
    """A page from a template that extends `webpage.html`; every text in it is escaped by the template engine."""
    # Undefined names must fail, not vanish: a page with a hole looks whole.
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= filters
    return pages.get_template(template.relative_to(_HERE).as_posix()).render(values)


def drawn(figure: "Figure", *, salt: str) -> Markup:
    """A figure in the house colours as an SVG element; `salt` makes it the same each time.

    Its colours become CSS variables of the page (`--ink`, `--muted`, `--line`, `--accent`, `--warn`), so that it is
    light or dark with it; text stays text.
    """
    import matplotlib

    # Without a salt the names of clip paths, and so the file, would differ each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    for side in ("height", "width"):
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return Markup(svg)
