"""Write scored rows as CSV, TSV, JSON Lines or Parquet, a part of them in memory at a time."""

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.data.sources import DELIMITERS, LINES
from pipelines.scoring.cells import arrow_value, delimited_cell, harmless, json_text

SUFFIXES = (*DELIMITERS, *LINES, ".parquet")

Part = list[dict[str, Any]]
"""Rows as values by column."""


def write_rows(path: Path, suffix: str, parts: Iterator[Part], types: Mapping[str, pa.DataType]) -> None:
    """Write all rows to `path`, flushed to the disk; `types` are the columns with what each is in Arrow.

    The same rows in the same parts give the same bytes.
    """
    if suffix in DELIMITERS:
        _write_delimited(path, DELIMITERS[suffix], parts, list(types))
    elif suffix in LINES:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for part in parts:
                file.writelines(f"{json_text(row)}\n" for row in part)
    else:
        _write_parquet(path, parts, types)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_delimited(path: Path, delimiter: str, parts: Iterator[Part], names: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)  # its line ends (CR LF) make it quote a lone CR too
        writer.writerow(map(harmless, names))
        for part in parts:
            writer.writerows([delimited_cell(row.get(name)) for name in names] for row in part)


def _write_parquet(path: Path, parts: Iterator[Part], types: Mapping[str, pa.DataType]) -> None:
    import pyarrow.parquet as pq

    schema = pa.schema(list(types.items()))
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            columns = {name: [arrow_value(row.get(name), kind) for row in part] for name, kind in types.items()}
            arrays = [pa.array(values, types[name]) for name, values in columns.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
