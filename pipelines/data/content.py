"""Look at every row of a table: blank texts, missing labels, texts that nothing can be learned from."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config import DataConfig
from pipelines.data.values import Table, filtered
from pipelines.data.wording import counted, numbered
from pipelines.errors import DataError

MAX_TEXT_BYTES = 1_000_000
_BLANK = r"^[\s\pZ\p{Cc}\p{Cf}]*$"  # spaces, control characters and invisible ones (zero width, byte order mark)


def check_rows(table: Table, config: DataConfig) -> Table:
    """`table` without its blank rows where `data.blank` is `drop`; its notes say how many.

    Raises `DataError` that lists all faults of the table, one a line.
    """
    # A NUL is a fault of its own; it must not pass for blank.
    blank = is_blank(table.texts) & ~_contains(table.texts, "\0")
    if config.blank == "drop" and blank.any():
        table, blank = _without(table, blank), np.zeros(int((~blank).sum()), bool)
    text, label, group = table.columns.text, table.columns.label, table.columns.group or ""
    found = [
        (blank, text, "is blank; fill it in, delete the row, or set data.blank: drop"),
        (_contains(table.texts, "\0"), text, "holds a NUL character; remove it"),
        (_contains(table.labels, "\0"), label, "holds a NUL character; remove it"),
        (_sizes(table.texts) > MAX_TEXT_BYTES, text, "is longer than 1 MB; split the document into several rows"),
        (_matches(table.labels, _BLANK), label, "is empty; fill in the label or delete the row"),
    ]
    if table.groups is not None:
        found.append((_matches(table.groups, _BLANK), group, "is empty; give every row its group"))
    faults = [_fault(table, rows, column, remedy=remedy) for rows, column, remedy in found if rows.any()]
    if faults:
        raise DataError("\n".join(faults))
    return table


def _fault(table: Table, rows: NDArray[np.bool_], column: str, *, remedy: str) -> str:
    return f"{table.shown}, {numbered(table.rows[rows], table.unit)}, column {column!r}: {remedy}"


def _without(table: Table, blank: NDArray[np.bool_]) -> Table:
    if blank.all():
        raise DataError(f"{table.shown}, column {table.columns.text!r}: is blank in every row; name another data.text")
    where = numbered(table.rows[blank], table.unit)
    note = f"{table.shown}: {counted(int(blank.sum()), 'row')} with blank text left out ({where})."
    return filtered(table, ~blank, note)


def is_blank(texts: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which texts, (rows,), hold nothing that can be seen."""
    return _matches(texts, _BLANK)


def _matches(column: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring_regex(column, pattern).to_numpy()
    return found


def _contains(column: pa.ChunkedArray, char: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring(column, char).to_numpy()
    return found


def _sizes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = pc.binary_length(column).to_numpy()
    return sizes
