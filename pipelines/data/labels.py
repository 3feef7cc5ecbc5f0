"""Raw labels to classes: which labels mean the same, what they are called, and in which order they stand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import SplitName
from pipelines.data.labelchecks import (
    canonical,
    grouped,
    is_number,
    refuse_absent,
    refuse_too_many_classes,
    refuse_unusable,
)
from pipelines.data.values import Table
from pipelines.data.wording import counted, limited, quoted
from pipelines.errors import ConfigError

_MISSING_WORDS = frozenset(("na", "n/a", "nan", "null", "none", "?", "-", "unknown"))


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a data set, and the class of each of its rows."""

    names: tuple[str, ...]
    codes: Mapping[SplitName, NDArray[np.int64]]
    """(rows,) index into `names`, by table."""
    notes: tuple[str, ...]


def find_classes(tables: Mapping[SplitName, Table], names: Mapping[str, str]) -> Classes:
    """The classes of all tables together; `names` are `data.label_names`.

    Numbers keep their numeric order, declared classes theirs, words are sorted (which puts negative before
    positive). Raises `DataError` for labels that cannot be classes, or for classes that train lacks.
    """
    encoded = {split: table.labels.combine_chunks().dictionary_encode() for split, table in tables.items()}
    raw = sorted({label for column in encoded.values() for label in column.dictionary.to_pylist()})
    refuse_too_many_classes(raw, tables["train"])
    refuse_unusable(raw, names, tables)
    class_of = _class_names(raw, names)
    ordered = _ordered(class_of, declared=tables["train"].declared)
    position = {name: index for index, name in enumerate(ordered)}
    codes = {split: _codes(column, class_of, position) for split, column in encoded.items()}
    refuse_absent(ordered, codes, tables)
    return Classes(ordered, codes, tuple(_notes(raw, class_of, ordered, tables=tables)))


def _codes(encoded: pa.DictionaryArray, class_of: Mapping[str, str], position: Mapping[str, int]) -> NDArray[np.int64]:
    by_index = np.array([position[class_of[label]] for label in encoded.dictionary.to_pylist()], dtype=np.int64)
    codes: NDArray[np.int64] = by_index[encoded.indices.to_numpy()]
    return codes


def _class_names(raw: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """The class name of each raw label. `1.0` is called 1 where all labels are whole numbers."""
    blank = [label for label, name in names.items() if not name.strip()]
    if blank:
        raise ConfigError(f"data.label_names: the name of {quoted(blank)} is blank; name it")
    if names:
        return {label: names.get(label, names.get(canonical(label), label)).strip() for label in raw}
    whole = all(is_number(label) and Decimal(label) % 1 == 0 for label in raw)
    return {label: canonical(label) if whole else label.strip() for label in raw}


def _ordered(class_of: Mapping[str, str], *, declared: Sequence[str]) -> tuple[str, ...]:
    if all(label in declared for label in class_of):
        raw = sorted(class_of, key=declared.index)
    elif all(is_number(label) for label in class_of):
        raw = sorted(class_of, key=Decimal)
    else:
        return tuple(sorted(set(class_of.values()), key=lambda name: (name.casefold(), name)))
    return tuple(dict.fromkeys(class_of[label] for label in raw))


def _notes(
    raw: Sequence[str], class_of: Mapping[str, str], ordered: Sequence[str], *, tables: Mapping[SplitName, Table]
) -> Iterable[str]:
    shown = tables["train"].shown
    merged = grouped(raw, class_of.__getitem__)
    for labels in merged:
        yield f"{shown}: the labels {quoted(labels)} are one class, {class_of[labels[0]]!r}."
    values = sorted({Decimal(label) for label in raw}) if all(map(is_number, raw)) else []
    if values and not merged and values[-1] - values[0] + 1 != len(values):
        last = len(ordered) - 1
        yield f"{shown}: the labels {limited(ordered)} are not consecutive; they become the classes 0 to {last}."
    odd = [label for label in raw if label.strip().casefold() in _MISSING_WORDS]
    if odd and not all(map(is_number, raw)):
        yield f"{shown}: the label {quoted(odd)} is kept as a class; it does not count as a missing value."
    unused = [name for name in tables["train"].declared if name not in raw]
    if unused:
        yield f"{shown}: {counted(len(unused), 'declared class')} without rows left out: {quoted(unused)}."
