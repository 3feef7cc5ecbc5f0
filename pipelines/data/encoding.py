"""Bytes to text: strict UTF-8, and a name for whatever else the file turns out to be."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from pipelines.errors import DataError

_HEAD = 65_536
_UNZIP = "unpack it first, for instance with"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", f"{_UNZIP} `gunzip` (after giving its name the ending .gz)"),
    (b"BZh", "compressed with bzip2", f"{_UNZIP} `bunzip2`"),
    (b"\xfd7zXZ", "compressed with xz", f"{_UNZIP} `unxz`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", f"{_UNZIP} `unzstd`"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as 'CSV UTF-8'"),
    (b"PAR1", "a Parquet file", "rename it to end in .parquet"),
    (b"%PDF-", "a PDF document", "export the table as 'CSV UTF-8'"),
    (codecs.BOM_UTF32_LE, "text in UTF-32", "save it as UTF-8: `iconv -f UTF-32 -t UTF-8 OLD > NEW`"),
    (codecs.BOM_UTF32_BE, "text in UTF-32", "save it as UTF-8: `iconv -f UTF-32 -t UTF-8 OLD > NEW`"),
    (codecs.BOM_UTF16_LE, "text in UTF-16", "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 OLD > NEW`"),
    (codecs.BOM_UTF16_BE, "text in UTF-16", "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 OLD > NEW`"),
)
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


@contextmanager
def decoded(handle: BinaryIO, shown: str, *, newline: str) -> Iterator[TextIO]:
    """The text of an open file, with or without a byte order mark; `newline` as for `open`.

    Raises `DataError` for content that is not UTF-8 text, with the line and the likely encoding.
    """
    refuse_foreign(handle.read(_HEAD), shown)
    handle.seek(0)
    text = io.TextIOWrapper(handle, encoding="utf-8-sig", newline=newline)
    try:
        yield text
    except UnicodeDecodeError:
        raise DataError(_undecodable(handle, shown)) from None
    finally:
        text.detach()  # `handle` belongs to the caller, who still compares its state


def refuse_foreign(head: bytes, shown: str) -> None:
    """Raises `DataError` when the first bytes of a file are those of something other than UTF-8 text."""
    for signature, what, remedy in _SIGNATURES:
        if head.startswith(signature):
            raise DataError(f"{shown}: is {what}, not UTF-8 text; {remedy}")
    if max(head[0::2].count(0), head[1::2].count(0)) > 0.2 * len(head) and head.count(0) < 0.6 * len(head):
        raise DataError(f"{shown}: is text in UTF-16, not UTF-8 text; save it as UTF-8 (a byte order mark is missing)")
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if head.count(0) > 0.1 * len(head) or (controls > 0.01 * len(head) and not _is_utf8(head)):
        raise DataError(f"{shown}: is a binary file, not UTF-8 text; export the table as 'CSV UTF-8'")


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _undecodable(handle: BinaryIO, shown: str) -> str:
    handle.seek(0)
    for number, line in enumerate(handle, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"{shown}, line {number}: {_explained(line, error.start)}"
    return f"{shown}: is not UTF-8 text; save it as UTF-8"


def _explained(line: bytes, start: int) -> str:
    octets = line[start : start + 3]
    if _SURROGATE.match(octets):
        return (
            f"holds half of a surrogate pair (bytes {octets.hex(' ').upper()}), which is no character; "
            "write the file again with a correct UTF-8 encoder"
        )
    guess = line[start : start + 1].decode("cp1252", errors="replace")
    return (
        f"byte 0x{line[start]:02X} is not UTF-8; the file looks like Windows-1252 or Latin-1 (where it is {guess!r}): "
        "save it as UTF-8, for instance with `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`"
    )
