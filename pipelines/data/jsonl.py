"""Read JSON Lines strictly: one object per line, numbers kept as they were written."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, TextIO

from pipelines.config import DataConfig
from pipelines.data.columns import Columns, choose_columns
from pipelines.data.gather import Record, gather
from pipelines.data.values import Table
from pipelines.data.wording import counted
from pipelines.errors import DataError

_SHOWN = 5


class Fault(NamedTuple):
    """What is wrong with one line."""

    line: int
    message: str


def read_jsonl(text: TextIO, config: DataConfig, *, shown: str, name: str) -> Table:
    """The wanted columns of an open JSON Lines file; the first object names the columns.

    Raises `DataError` for lines that are no JSON object, and for cells that are neither text, number, boolean
    nor null; null counts as empty.
    """
    faults: list[Fault] = []
    lines = objects(text, shown, faults)
    first = next(lines, None)
    if first is None:
        refuse(faults, shown)
        raise DataError(f"{shown}: holds only blank lines; it needs one JSON object per line")
    columns = choose_columns(list(first[1]), config, shown)
    table = gather(_records(first, lines, columns, faults=faults), columns, shown=shown, name=name)
    refuse(faults, shown)
    return table


def refuse(faults: list[Fault], shown: str) -> None:
    """Raises `DataError` about the first five faults, where there are any."""
    if faults:
        lines = [f"{shown}, line {fault.line}: {fault.message}" for fault in faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            lines.append(f"{shown}: {counted(len(faults) - _SHOWN, 'more faulty line')}")
        raise DataError("\n".join(lines))


def objects(
    text: TextIO, shown: str, faults: list[Fault], *, number_as: Callable[[str], Any] = str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with its line number; what is no object goes to `faults`. `number_as` takes a number as written."""
    # Numbers stay the text they are: 007 would be refused, 1.0 must not become 1, and 10**5000 costs nothing.
    decoder = json.JSONDecoder(
        parse_int=number_as, parse_float=number_as, parse_constant=_constant, object_pairs_hook=_object
    )
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            value = decoder.decode(line.strip())
        except RecursionError:
            faults.append(Fault(number, "is nested too deeply; write plain texts and numbers"))
            continue
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise DataError(_one_array(shown)) from None
            faults.append(Fault(number, _reason(error)))
            continue
        if isinstance(value, dict):
            yield number, value
        elif number == 1 and isinstance(value, list):
            raise DataError(_one_array(shown))
        else:
            faults.append(Fault(number, 'is no JSON object; write one like {"text": "...", "label": "..."}'))


def _one_array(shown: str) -> str:
    return f"{shown}: is one JSON array, not JSON Lines; write one object per line, for instance with `jq -c '.[]'`"


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at character {error.colno}; each line must be one complete object"
    return str(error)


def _constant(name: str) -> str:
    raise ValueError(f"{name} is no JSON value; write null or a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {twice!r} twice; keep one")
    return value


def _records(
    first: tuple[int, dict[str, Any]],
    others: Iterator[tuple[int, dict[str, Any]]],
    columns: Columns,
    *,
    faults: list[Fault],
) -> Iterator[Record]:
    for number, value in chain([first], others):
        try:
            group = cell_text(value, columns.group) if columns.group else ""
            yield Record(number, cell_text(value, columns.text), cell_text(value, columns.label), group)
        except ValueError as error:
            faults.append(Fault(number, str(error)))


def cell_text(value: dict[str, Any], column: str) -> str:
    """A cell of an object as text. Raises `ValueError` where it is absent, a list or an object."""
    if column not in value:
        raise ValueError(f"has no {column!r}; every line needs it")
    cell = value[column]
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return cell
    kind = "a list" if isinstance(cell, list) else "an object"
    raise ValueError(f"column {column!r} holds {kind}, not text; write plain text")
