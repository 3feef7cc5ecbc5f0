import codecs
import gzip

import pytest

from pipelines.config import DataConfig
from pipelines.data import load_data

from .rows import Refused, Write, pairs, table


def test_latin_1_is_refused_with_line_byte_and_remedy(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("café", "negative")]).encode("latin-1"))
    assert refused("reviews.csv") == (
        "reviews.csv, line 22: byte 0xE9 is not UTF-8; the file looks like Windows-1252 or Latin-1 (where it is 'é'): "
        "save it as UTF-8, for instance with `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_name(write: Write, refused: Refused, encoding: str) -> None:
    write("reviews.csv", table(pairs(20)).encode(encoding))
    assert refused("reviews.csv").startswith("reviews.csv: is text in UTF-16, not UTF-8 text; save it as UTF-8")


def test_byte_order_mark_is_accepted_and_is_no_part_of_the_header(write: Write) -> None:
    content = table(pairs(20)).encode()
    write("marked.csv", codecs.BOM_UTF8 + content)
    write("plain.csv", content)
    marked, plain = (load_data(DataConfig(source=name, text="text")) for name in ("marked.csv", "plain.csv"))
    assert marked.digest == plain.digest


def test_gzip_under_a_csv_name_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", gzip.compress(table(pairs(20)).encode()))
    assert refused("reviews.csv") == (
        "reviews.csv: is compressed with gzip, not UTF-8 text; unpack it first, for instance with `gunzip` (after "
        "giving its name the ending .gz)"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04" + b"x" * 50, "a ZIP archive or an Excel workbook"),
        (b"PAR1" + b"x" * 50, "a Parquet file"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 500, "a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "a binary file"),
    ],
)
def test_binary_files_are_refused_by_what_they_are(write: Write, refused: Refused, content: bytes, what: str) -> None:
    write("reviews.csv", content)
    assert refused("reviews.csv").startswith(f"reviews.csv: is {what}, not UTF-8 text; ")


def test_half_a_surrogate_pair_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20)).encode() + b"half \xed\xa0\xbd,negative\n")
    assert refused("reviews.csv") == (
        "reviews.csv, line 22: holds half of a surrogate pair (bytes ED A0 BD), which is no character; write the file "
        "again with a correct UTF-8 encoder"
    )


def test_emoji_right_to_left_and_combining_characters_are_accepted_unchanged(write: Write) -> None:
    odd = ["👩‍👩‍👧 nice", "שלום עולם", "cafe\u0301 \u202eabc", "ｆｕｌｌ width"]
    write("reviews.csv", table([*pairs(40), *((text, "negative") for text in odd)]))
    dataset = load_data(DataConfig(source="reviews.csv"))
    assert set(odd) <= {text for split in dataset.splits.values() for text in split.texts}
