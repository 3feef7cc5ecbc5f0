"""Rows for small files, and the types of the fixtures that write and read them."""

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path

Write = Callable[[str, str | bytes], Path]
Refused = Callable[..., str]


def table(rows: Iterable[Iterable[str]], header: tuple[str, ...] = ("text", "label")) -> str:
    """Rows as CSV."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue()


def pairs(count: int, labels: tuple[str, ...] = ("negative", "positive"), start: int = 0) -> list[tuple[str, str]]:
    """`count` different texts whose labels take turns."""
    return [(f"example number {row}", labels[row % len(labels)]) for row in range(start, start + count)]
