"""Read CSV and TSV strictly: every cell stays the text it is, and whatever is malformed is named by its line."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pipelines.config import DataConfig
from pipelines.data.columns import Columns, choose_columns
from pipelines.data.content import MAX_TEXT_BYTES
from pipelines.data.gather import Record, gather
from pipelines.data.values import Table
from pipelines.data.wording import counted, numbered
from pipelines.errors import DataError

if TYPE_CHECKING:
    import _csv

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}


def read_delimited(text: TextIO, config: DataConfig, *, delimiter: str, shown: str, name: str) -> Table:
    """The wanted columns of an open CSV or TSV file, quoted as RFC 4180 has it; the first line is the header.

    Raises `DataError` for a wrong separator, ragged rows, unclosed quotes and cells over 1 MB.
    """
    with cells_of(text, delimiter=delimiter, shown=shown) as (header, lines):
        columns = choose_columns(header, config, shown)
        return gather(_records(lines, header, columns), columns, shown=shown, name=name)


@contextmanager
def cells_of(
    text: TextIO, *, delimiter: str, shown: str, columns: int = 2
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """The header, of so many columns at least, and each row with the line it starts on, as cells.

    Raises `DataError`, also while the rows are read, as `read_delimited`.
    """
    previous = csv.field_size_limit(MAX_TEXT_BYTES)
    try:
        lines = _lines(csv.reader(text, delimiter=delimiter, strict=True), shown)
        header = _header(next(lines, (1, []))[1], delimiter, shown, columns=columns)
        yield header, _even(lines, len(header), shown, delimiter=delimiter)
    finally:
        csv.field_size_limit(previous)


def _even(
    lines: Iterator[tuple[int, list[str]]], width: int, shown: str, *, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows of `width` cells; that there were others, or none, is said at the end."""
    ragged: list[tuple[int, int]] = []
    empty = True
    for line, cells in lines:
        if len(cells) == width:
            empty = False
            yield line, cells
        else:
            ragged.append((line, len(cells)))
    if ragged:
        raise DataError(_ragged(ragged, width, shown, delimiter=delimiter))
    if empty:
        raise DataError(f"{shown}: has a header but no rows; add at least one row per example")


def _lines(reader: "_csv.Reader", shown: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line it starts on; empty lines are skipped."""
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{shown}, line {start}: {_broken(str(error), reader.line_num, start)}") from None


def _broken(error: str, line: int, start: int) -> str:
    until = "" if line == start else f" (it goes on to line {line})"
    if "field larger" in error:
        return f"a cell is longer than 1 MB{until}; close its quotes, or split the document into several rows"
    if "unexpected end" in error:
        return (
            f'a quote that opens in this row is never closed{until}; close it, or write quotes inside a text twice ("")'
        )
    return (
        f'a cell goes on after its closing quote{until}; write quotes inside a text twice ("") and put the whole '
        "text in quotes"
    )


def _header(cells: Sequence[str], delimiter: str, shown: str, *, columns: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not names:
        raise DataError(
            f"{shown}: holds only blank lines; it needs a header such as text,label and one row per example"
        )
    if len(names) > 1:
        return names
    for other, plural in _SEPARATORS.items():
        if other in names[0] and other != delimiter:
            raise DataError(f"{shown}: is separated by {plural}, not by {_SEPARATORS[delimiter]}; {_remedy(other)}")
    if columns == 1:
        return names
    raise DataError(f"{shown}: has a single column, {names[0]!r}; it needs a text and a label column")


def _remedy(separator: str) -> str:
    if separator == "\t":
        return "rename it to end in .tsv"
    if separator == ",":
        return "rename it to end in .csv"
    return "save it again as 'CSV UTF-8 (comma delimited)', or replace them by tabs and name it .tsv"


def _records(lines: Iterator[tuple[int, list[str]]], header: list[str], columns: Columns) -> Iterator[Record]:
    """The wanted cells of each row."""
    text, label = header.index(columns.text), header.index(columns.label)
    group = header.index(columns.group) if columns.group else None
    for line, cells in lines:
        yield Record(line, cells[text], cells[label], "" if group is None else cells[group])


def _ragged(ragged: list[tuple[int, int]], width: int, shown: str, *, delimiter: str) -> str:
    where = numbered([line for line, _ in ragged], "line")
    found = f"{counted(ragged[0][1], 'cell')} in line {ragged[0][0]}"
    return (
        f"{shown}, {where}: the header names {counted(width, 'column')}, but there are more or fewer cells "
        f"({found}); put texts that contain {_SEPARATORS[delimiter]} or line breaks in double quotes"
    )
