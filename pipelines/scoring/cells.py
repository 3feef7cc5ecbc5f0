"""What one value of a row becomes in the output."""

import json
import math
import re
from typing import Any

import pyarrow as pa

_FORMULA = re.compile(r"\s*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


class Written(str):
    """A number of a JSON file as it was written: 1.0 is not 1, and no digit is lost."""

    __slots__ = ()


def harmless(text: str) -> str:
    """A leading apostrophe makes a formula of a spreadsheet a text; a number stays a number."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def delimited_cell(value: Any) -> str:
    """A value as a cell of a CSV or TSV file; null is empty, lists and objects are JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool | dict | list):
        return harmless(json_text(value))
    return harmless(value if isinstance(value, str) else _as_text(value))


def json_text(value: Any) -> str:
    """A value as JSON on one line; what JSON has no form for is its text, and NaN is null."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json_text(str(key))}: {json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value, ensure_ascii=False, default=_as_text)


def arrow_type(value: Any) -> pa.DataType:
    """The type of a Parquet column that holds this value of a text file; null has none of its own."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, Written):
        whole = _INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63
        return pa.int64() if whole else pa.float64()
    return pa.string()


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type of a column with values of both types: numbers are numbers together, all else is text."""
    if one == other or other == pa.null():
        return one
    if one == pa.null():
        return other
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.string()


def arrow_value(value: Any, kind: pa.DataType) -> Any:
    """A value as one of its column's type; those of Parquet files are so already."""
    if isinstance(value, Written) and kind != pa.string():
        return int(value) if kind == pa.int64() else float(value)
    if kind == pa.string() and value is not None and not isinstance(value, str):
        return json_text(value)
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
