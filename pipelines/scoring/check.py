"""A look at the whole file before anything is computed: is every row one that can be scored, and how many are there?"""

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

import pyarrow as pa

from pipelines.data.content import MAX_TEXT_BYTES
from pipelines.data.wording import numbered
from pipelines.errors import DataError
from pipelines.scoring.cells import arrow_type, joined
from pipelines.scoring.rows import Row, Rows, open_rows

_LISTED = 1_000  # faulty rows that are gone through before the file is given up


@dataclass(frozen=True)
class Checked:
    """What a file holds."""

    rows: int
    digest: str
    """sha256 of its bytes, and when they were written last."""
    column: str
    """Which column holds the texts."""
    unit: Literal["line", "row"]
    types: dict[str, pa.DataType]
    """Its columns, and what each is in a Parquet file."""


def check(handle: BinaryIO, suffix: str, column: str | None, shown: str) -> Checked:
    """Read an open file to its end. Raises `DataError` that names file, rows and column of what cannot be scored."""
    digest = f"{_sha256(handle)} {os.fstat(handle.fileno()).st_mtime_ns}"
    types: dict[str, pa.DataType] = {}
    faults: dict[str, list[int]] = {}
    count = 0
    with open_rows(handle, suffix, column, shown) as rows:
        for row in rows.each:
            count += 1
            if rows.schema is None:
                for name, value in row.values.items():
                    types[name] = joined(types.get(name, pa.null()), arrow_type(value))
            if (fault := _fault(row)) is not None:
                faults.setdefault(fault, []).append(row.number)
                if sum(map(len, faults.values())) == _LISTED:
                    break
        _refuse(faults, rows, shown)
        if rows.schema is not None:
            types = {field.name: field.type for field in rows.schema}
        return Checked(count, digest, rows.column, rows.unit, types)


def _sha256(handle: BinaryIO) -> str:
    handle.seek(0)
    digest = hashlib.sha256()
    while block := handle.read(2**16):
        digest.update(block)
    return digest.hexdigest()


def _fault(row: Row) -> str | None:
    if "\0" in row.text:
        return "holds a NUL character; remove it"
    if len(row.text) > MAX_TEXT_BYTES // 4 and len(row.text.encode()) > MAX_TEXT_BYTES:
        return "is longer than 1 MB; split the document into several rows"
    return None


def _refuse(faults: dict[str, list[int]], rows: Rows, shown: str) -> None:
    if faults:
        lines = (
            f"{shown}, {numbered(numbers, rows.unit)}, column {rows.column!r}: {fault}"
            for fault, numbers in faults.items()
        )
        raise DataError("\n".join(lines))
