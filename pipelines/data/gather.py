"""Rows as Python text to Arrow columns, a batch at a time, so that only one batch is held twice."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.columns import Columns
from pipelines.data.values import Table
from pipelines.data.wording import numbered
from pipelines.errors import DataError

MAX_ROWS = 20_000_000
_BATCH = 8192


class Record(NamedTuple):
    """One row as it was written."""

    line: int
    text: str
    label: str
    group: str


def gather(records: Iterator[Record], columns: Columns, *, shown: str, name: str) -> Table:
    """All records of a text file as a table; `columns` tells where they came from.

    Raises `DataError` beyond 20 million rows, and for text that no UTF-8 can hold (half a surrogate pair).
    """
    lines: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    chunks: tuple[list[pa.Array], ...] = ([], [], [])
    total = 0
    while batch := list(islice(records, _BATCH)):
        total += len(batch)
        refuse_too_many(total, shown)
        numbers, *cells = zip(*batch, strict=True)
        lines.append(np.array(numbers, dtype=np.int64))
        try:
            for chunk, values in zip(chunks, cells, strict=True):
                chunk.append(pa.array(values, pa.large_string()))
        except UnicodeEncodeError:
            raise DataError(_surrogates(batch, shown)) from None
    texts, labels, groups = (pa.chunked_array(chunk, pa.large_string()) for chunk in chunks)
    return Table(
        shown=shown,
        name=name,
        unit="line",
        rows=np.concatenate(lines),
        texts=texts,
        labels=labels,
        groups=groups if columns.group else None,
        columns=columns,
    )


def refuse_too_many(rows: int, shown: str) -> None:
    """Raises `DataError` when there are more rows than can be handled."""
    if rows > MAX_ROWS:
        raise DataError(f"{shown}: has more than {MAX_ROWS:,} rows; take a sample of them first")


def _surrogates(batch: list[Record], shown: str) -> str:
    bad = [record.line for record in batch if any("\ud800" <= char <= "\udfff" for char in "".join(record[1:]))]
    return f"{shown}, {numbered(bad, 'line')}: holds half of a surrogate pair, which is no character; remove or mend it"
