"""The values that the data step hands on: columns of text, splits and data sets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import SplitName
from pipelines.data.columns import Columns

_WINDOW = 4096  # rows turned into Python text at a time


@dataclass(frozen=True, eq=False)
class Column(Sequence[str]):
    """Texts in Arrow memory, read like a list; a slice copies nothing."""

    values: pa.ChunkedArray
    """(rows,), large_string without nulls."""

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Column": ...
    def __getitem__(self, index: int | slice) -> "str | Column":
        if isinstance(index, slice):
            return Column(self.values[index])
        text: str = self.values[int(index)].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _WINDOW):
            yield from self.values.slice(start, _WINDOW).to_pylist()


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split, in an order that does not depend on the order of the file."""

    texts: Sequence[str]
    """(rows,), unchanged from the source; may be backed by a memory-mapped file."""
    labels: NDArray[np.int64]
    """(rows,), index into `Dataset.labels`."""
    ids: Sequence[str]
    """(rows,), where each row came from: `reviews.csv:17` is the row that starts on line 17."""
    units: NDArray[np.int64] | None = None
    """(rows,), equal for rows of one file that must stay in one split; None where it is not known."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled texts, checked and split."""

    name: str
    """Short and readable: `movies`, `reviews.csv`, `stanfordnlp/imdb`."""
    source: str
    """What the user wrote; for files and directories the absolute path."""
    labels: tuple[str, ...]
    """Class names; the position is the class index."""
    splits: Mapping[SplitName, Split]
    """All four; calibrate and test are empty only where their fraction is 0."""
    digest: str
    """sha256 of labels, texts and splits; the same for the same content on every machine."""
    notes: tuple[str, ...]
    """What a person should know about these rows, one sentence each."""


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one file or hub split as they were written, before any check of their content."""

    shown: str
    """How messages name it: the path or hub split as the user wrote it."""
    name: str
    """How row ids name it: `reviews.csv`."""
    unit: Literal["line", "row"]
    """What `rows` counts."""
    rows: NDArray[np.int64]
    """(rows,), number of each row as a person counts it."""
    texts: pa.ChunkedArray
    """(rows,), large_string."""
    labels: pa.ChunkedArray
    """(rows,), large_string, as written; empty where there is none."""
    groups: pa.ChunkedArray | None
    """(rows,), large_string, or None without `data.group`."""
    columns: Columns
    """Names of the columns that all this came from."""
    declared: tuple[str, ...] = ()
    """Class names in the order that the source itself declares, if it does."""
    notes: tuple[str, ...] = ()
    """What reading it left out."""

    def __len__(self) -> int:
        return len(self.rows)


def filtered(table: Table, kept: NDArray[np.bool_], *notes: str) -> Table:
    """The rows of `table` where `kept`, (rows,), is true, with further notes."""
    if kept.all() and not notes:
        return table
    mask = pa.array(kept)
    return replace(
        table,
        rows=table.rows[kept],
        texts=table.texts.filter(mask),
        labels=table.labels.filter(mask),
        groups=None if table.groups is None else table.groups.filter(mask),
        notes=(*table.notes, *notes),
    )


@dataclass(frozen=True, eq=False)
class Source:
    """Everything that `data.source` and its own files for splits hold, unchecked."""

    name: str
    """Becomes `Dataset.name`."""
    address: str
    """Becomes `Dataset.source`."""
    tables: Mapping[SplitName, Table]
    """`train`, and every split that has a file or hub split of its own."""
    published: bool = False
    """The splits are those of a published data set, not files that the user put together."""
