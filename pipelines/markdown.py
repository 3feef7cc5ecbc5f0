"""Any text as Markdown that shows exactly that text."""

import re
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells are any text."""
    rule = "|" + " --- |" * len(header)
    first, *others = [f"| {' | '.join(map(escape, cells))} |" for cells in (header, *rows)]
    return "\n".join([first, rule, *others])


def escape(text: str) -> str:
    """Any text as one line of Markdown that shows exactly that text: no markup, HTML, table border or new line."""
    plain = " ".join(text.split()).replace("\\", "\\\\")
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Within a word an underscore marks nothing; unescaped, identifiers and addresses stay readable.
    plain = re.sub(r"[`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", plain)
    # At the start of a line these would open a list or draw a rule.
    return re.sub(r"^(\d*)([-+.)])(?=[\s-]|$)", r"\1\\\2", plain)
