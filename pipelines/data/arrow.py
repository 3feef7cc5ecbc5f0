"""Tables that are in Arrow's form already: Parquet files, and splits of `datasets`."""

from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import DataConfig
from pipelines.data.columns import Columns, choose_columns
from pipelines.data.gather import refuse_too_many
from pipelines.data.values import Table
from pipelines.errors import DataError


def read_parquet(handle: BinaryIO, config: DataConfig, *, shown: str, name: str) -> Table:
    """The wanted columns of an open Parquet file.

    Raises `DataError` when the file is damaged or truncated, and as `arrow_table`.
    """
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(handle)
        refuse_too_many(file.metadata.num_rows, shown)
        columns = choose_columns(file.schema_arrow.names, config, shown)
        wanted = [column for column in (columns.text, columns.label, columns.group) if column]
        data = file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{shown}: is no complete Parquet file ({reason}); copy or write it again") from None
    return arrow_table(data, columns, shown=shown, name=name)


def arrow_table(
    data: pa.Table, columns: Columns, *, shown: str, name: str, classes: tuple[str, ...] | None = None
) -> Table:
    """The columns of an Arrow table as text, rows counted from 1; null becomes empty text.

    `classes` are the names of labels that are stored as class indices. Raises `DataError` for an empty table and
    for columns that hold no text, such as lists or bytes.
    """
    if data.num_rows == 0:
        raise DataError(f"{shown}: has no rows; add at least one row per example")
    refuse_too_many(data.num_rows, shown)
    labels = data[columns.label]
    if classes and pa.types.is_integer(labels.type):
        labels = _named(labels, classes)
    return Table(
        shown=shown,
        name=name,
        unit="row",
        rows=np.arange(1, data.num_rows + 1),
        texts=column_text(data[columns.text], columns.text, shown),
        labels=column_text(labels, columns.label, shown),
        groups=column_text(data[columns.group], columns.group, shown) if columns.group else None,
        columns=columns,
        declared=classes or (),
    )


def _named(indices: pa.ChunkedArray, classes: tuple[str, ...]) -> pa.ChunkedArray:
    """Class names in place of their indices; an index outside of them (-1: not labelled) stays a number."""
    known = pc.and_(pc.greater_equal(indices, 0), pc.less(indices, len(classes)))
    safe = pc.if_else(known, indices, 0)
    names = pc.take(pa.array(classes, pa.large_string()), safe)
    return pc.if_else(known, names, indices.cast(pa.large_string()))


def column_text(column: pa.ChunkedArray, name: str, shown: str) -> pa.ChunkedArray:
    """A column as text; null becomes empty text. Raises `DataError` where it holds no text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column_text(column.cast(kind.value_type), name, shown)
    if kind in (pa.float32(), pa.float64()):
        # Tables made from data frames hold missing numbers as NaN.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    elif not _is_plain(kind):
        raise DataError(f"{shown}, column {name!r}: holds {kind}, not text; write plain text")
    text = pc.fill_null(column.cast(pa.large_string()), "")
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        raise DataError(f"{shown}, column {name!r}: holds bytes that are not UTF-8; write the file again") from None
    return text


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    numbers = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null, pa.types.is_decimal)
    return any(test(kind) for test in tests + numbers)
