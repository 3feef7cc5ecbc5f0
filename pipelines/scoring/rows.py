"""The rows of a file, one after the other, read as strictly as those of a study."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO, Literal, NamedTuple

import pyarrow as pa

from pipelines.data.arrow import column_text
from pipelines.data.columns import choose_text
from pipelines.data.delimited import cells_of
from pipelines.data.encoding import decoded
from pipelines.data.jsonl import Fault, cell_text, objects, refuse
from pipelines.data.sources import DELIMITERS, LINES, wrong_ending
from pipelines.errors import DataError
from pipelines.scoring.cells import Written, json_text

_BATCH = 1_000  # rows of a Parquet file in memory


class Row(NamedTuple):
    """One row with all its columns."""

    number: int
    """Its line, or its row in a Parquet file, counted from 1."""
    text: str
    """What is scored."""
    values: dict[str, Any]
    """By column, as they were written."""


@dataclass(frozen=True)
class Rows:
    """An open file."""

    column: str
    """Which column holds the texts."""
    unit: Literal["line", "row"]
    """What `Row.number` counts."""
    each: Iterator[Row]
    schema: pa.Schema | None = None
    """That of a Parquet file."""


@contextmanager
def open_rows(handle: BinaryIO, suffix: str, column: str | None, shown: str) -> Iterator[Rows]:
    """The rows of an open file from its beginning; `column` None: found by its name.

    Raises `DataError` for what a study would refuse in such a file, also while the rows are read.
    """
    handle.seek(0)
    if suffix in DELIMITERS:
        with (
            decoded(handle, shown, newline="") as text,
            cells_of(text, delimiter=DELIMITERS[suffix], shown=shown, columns=1) as (header, lines),
        ):
            _refuse_nameless(header, shown)
            chosen = choose_text(header, column, shown)
            place = header.index(chosen)
            yield Rows(
                chosen,
                "line",
                (Row(line, cells[place], dict(zip(header, cells, strict=True))) for line, cells in lines),
            )
    elif suffix in LINES:
        with decoded(handle, shown, newline="\n") as text:
            faults: list[Fault] = []
            found = objects(text, shown, faults, number_as=Written)
            first = next(found, None)
            if first is None:
                refuse(faults, shown)
                raise DataError(f"{shown}: holds only blank lines; it needs one JSON object per line")
            chosen = choose_text(list(first[1]), column, shown)
            yield Rows(chosen, "line", _of_objects(chain([first], found), chosen, shown, faults=faults))
    elif suffix == ".parquet":
        import pyarrow.parquet as pq

        with _parquet_errors(shown):
            file = pq.ParquetFile(handle)
            schema = file.schema_arrow
        chosen = choose_text(schema.names, column, shown)
        yield Rows(chosen, "row", _of_batches(file.iter_batches(_BATCH), chosen, shown), schema)
    else:
        raise wrong_ending(suffix, shown)


def chunks(rows: Iterator[Row], *, count: int, characters: int) -> Iterator[list[Row]]:
    """Lists of `count` rows; a list ends before that where its texts have so many characters together."""
    while chunk := list(islice(rows, 1)):
        size = len(chunk[0].text)
        while len(chunk) < count and size < characters and (row := next(rows, None)) is not None:
            chunk.append(row)
            size += len(row.text)
        yield chunk


def _refuse_nameless(header: list[str], shown: str) -> None:
    if header.count("") > 1:
        raise DataError(f"{shown}: several columns have no name; name all of them in the first line")


def _of_objects(
    found: Iterator[tuple[int, dict[str, Any]]], column: str, shown: str, *, faults: list[Fault]
) -> Iterator[Row]:
    for number, value in found:
        try:
            text = cell_text(value, column)
            json_text(value).encode()
        except UnicodeEncodeError:
            faults.append(Fault(number, "holds half of a surrogate pair, which is no character; remove or mend it"))
        except RecursionError:
            faults.append(Fault(number, "is nested too deeply; write plain texts and numbers"))
        except ValueError as error:
            faults.append(Fault(number, str(error)))
        else:
            yield Row(number, text, value)
    refuse(faults, shown)


def _of_batches(batches: Iterator[pa.RecordBatch], column: str, shown: str) -> Iterator[Row]:
    number = 0
    with _parquet_errors(shown):
        for batch in batches:
            texts = column_text(pa.chunked_array([batch.column(column)]), column, shown).to_pylist()
            for text, values in zip(texts, batch.to_pylist(), strict=True):
                number += 1
                yield Row(number, text, values)
    if number == 0:
        raise DataError(f"{shown}: has no rows; add at least one row per example")


@contextmanager
def _parquet_errors(shown: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise DataError(f"{shown}: holds bytes that are not UTF-8; write the file again") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{shown}: is no complete Parquet file ({reason}); copy or write it again") from None
