"""How messages name rows, lists and likely intentions."""

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 5


def listing(items: Sequence[object], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def limited(items: Sequence[object]) -> str:
    """The first five items, and how many more there are."""
    more = len(items) - _SHOWN
    return listing(items) if more <= 0 else f"{', '.join(str(item) for item in items[:_SHOWN])} and {more} more"


def numbered(rows: Iterable[int], unit: str) -> str:
    """`line 3`, `lines 3, 9 and 12`, `lines 1, 2, 3, 4, 5 and 7 more`."""
    numbers = [int(row) for row in rows]
    return f"{unit}{'' if len(numbers) == 1 else 's'} {limited(numbers)}"


def counted(count: int, noun: str) -> str:
    """`1 row`, `12 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def quoted(items: Iterable[str]) -> str:
    """The first five names in quotes, and how many more there are."""
    return limited([repr(shortened(item)) for item in items])


def shortened(text: str, width: int = 40) -> str:
    """`text` on one line of at most `width` characters."""
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= width else f"{line[: width - 3]}..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'label'?` when something known is close to `name`, else nothing."""
    by_fold = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return f"; did you mean {by_fold[close[0]]!r}?" if close else ""
