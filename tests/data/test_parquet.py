from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import DataConfig
from pipelines.data import load_data

from .rows import Refused, Write, pairs, table

TEXTS = [text for text, _ in pairs(20)]


def _parquet(path: Path, texts: Any, labels: Any) -> None:
    pq.write_table(pa.table({"text": texts, "label": labels}), path)


def test_parquet_gives_the_same_data_set_as_csv(write: Write) -> None:
    write("reviews.csv", table(pairs(20)))
    _parquet(Path("reviews.parquet"), TEXTS, [label for _, label in pairs(20)])
    digests = {load_data(DataConfig(source=name)).digest for name in ("reviews.parquet", "reviews.csv")}
    assert len(digests) == 1


def test_truncated_parquet_is_refused(write: Write, refused: Refused) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, TEXTS, [0, 1] * 10)
    path.write_bytes(path.read_bytes()[:-20])
    message = refused("reviews.parquet")
    assert message.startswith("reviews.parquet: is no complete Parquet file (")
    assert message.endswith("); copy or write it again")


def test_damaged_parquet_page_is_refused(write: Write, refused: Refused) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, TEXTS, [0, 1] * 10)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    assert refused("reviews.parquet").startswith("reviews.parquet: is no complete Parquet file (")


def test_parquet_without_rows_is_refused(write: Write, refused: Refused) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, pa.array([], pa.string()), pa.array([], pa.int64()))
    assert refused("reviews.parquet") == "reviews.parquet: has no rows; add at least one row per example"


@pytest.mark.parametrize(
    ("texts", "kind"),
    [([[text] for text in TEXTS], "list<element: string>"), ([text.encode() for text in TEXTS], "binary")],
)
def test_columns_that_hold_no_text_are_refused(write: Write, refused: Refused, texts: list[Any], kind: str) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, texts, [0, 1] * 10)
    assert refused("reviews.parquet") == f"reviews.parquet, column 'text': holds {kind}, not text; write plain text"


def test_bytes_that_are_no_utf_8_in_a_text_column_are_refused(write: Write, refused: Refused) -> None:
    path = write("reviews.parquet", b"")
    broken = pa.array([b"caf\xe9", *(text.encode() for text in TEXTS[1:])], pa.binary())
    _parquet(path, broken.view(pa.string()), [0, 1] * 10)
    assert refused("reviews.parquet") == (
        "reviews.parquet, column 'text': holds bytes that are not UTF-8; write the file again"
    )


def test_missing_values_are_named_by_row(write: Write, refused: Refused) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, [None, *TEXTS[1:]], pa.array([1.0, np.nan, None] + [0.0, 1.0] * 8 + [0.0]))
    assert refused("reviews.parquet") == (
        "reviews.parquet, row 1, column 'text': is blank; fill it in, delete the row, or set data.blank: drop\n"
        "reviews.parquet, rows 2 and 3, column 'label': is empty; fill in the label or delete the row"
    )


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array([0, 1] * 10, pa.int8()), ("0", "1")),
        (pa.array([0.0, 1.0] * 10), ("0", "1")),
        (pa.array([False, True] * 10), ("false", "true")),
        (pa.array(["b", "a"] * 10).dictionary_encode(), ("a", "b")),
    ],
)
def test_labels_of_every_plain_type_become_classes(write: Write, labels: pa.Array, classes: tuple[str, ...]) -> None:
    path = write("reviews.parquet", b"")
    _parquet(path, TEXTS, labels)
    assert load_data(DataConfig(source="reviews.parquet")).labels == classes
