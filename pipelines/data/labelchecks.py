"""Labels that cannot be classes, each refused with its rows and the remedy."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config import SplitName
from pipelines.data.values import Table
from pipelines.data.wording import listing, numbered, quoted, suggestion
from pipelines.errors import DataError

MAX_CLASSES = 1000
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_Tables = Mapping[SplitName, Table]


def refuse_too_many_classes(raw: Sequence[str], train: Table) -> None:
    """Raises `DataError` when the column holds far too many different labels to be classes."""
    if len(raw) > MAX_CLASSES:
        raise DataError(
            f"{train.shown}, column {train.columns.label!r}: holds {len(raw):,} different labels, over the limit of "
            f"{MAX_CLASSES:,}; name the column of the classes in data.label"
        )


def refuse_unusable(raw: Sequence[str], names: Mapping[str, str], tables: _Tables) -> None:
    """Raises `DataError` for labels that stand for no class, or of which it is unclear for which.

    `raw` are all different labels as written, `names` is `data.label_names`.
    """
    checks: tuple[Callable[[Sequence[str], _Tables], list[str]], ...]
    checks = (_mixed_kinds, _number_spellings, _word_spellings)
    faults = _unlabelled(raw, names, tables)
    if names:
        faults += _unnamed(raw, names, tables)
    elif not faults:
        faults += [fault for check in checks for fault in check(raw, tables)]
    if faults:
        raise DataError("\n".join(faults))


def _unlabelled(raw: Sequence[str], names: Mapping[str, str], tables: _Tables) -> list[str]:
    """-1 commonly says that nobody has labelled the row; public test sets are full of it."""
    found = [label for label in raw if is_number(label) and Decimal(label) == -1 and canonical(label) not in names]
    return [
        f"{_where(label, tables)}: is {label}, which usually means 'not labelled'; remove these rows or name another "
        f'split, or, if it is a class of its own, name it in data.label_names, for instance {{"{canonical(label)}": '
        "negative}"
        for label in found
    ]


def _mixed_kinds(raw: Sequence[str], tables: _Tables) -> list[str]:
    numbers = [label for label in raw if is_number(label)]
    words = [label for label in raw if not is_number(label)]
    if not numbers or not words:
        return []
    return [
        f"{_where(numbers[0], tables)}: is the number {numbers[0]}, but {_where(words[0], tables)}: is the word "
        f"{words[0]!r}; use one kind, or name every label in data.label_names"
    ]


def _number_spellings(raw: Sequence[str], tables: _Tables) -> list[str]:
    alike = grouped([label for label in raw if is_number(label)], Decimal)
    return [f"{_spellings(labels, tables)} are the same number; write it in one way" for labels in alike]


def _word_spellings(raw: Sequence[str], tables: _Tables) -> list[str]:
    alike = grouped([label for label in raw if not is_number(label)], _folded)
    return [
        f"{_spellings(labels, tables)} differ only by case or spaces; "
        "write one of them, or map both in data.label_names"
        for labels in alike
    ]


def _unnamed(raw: Sequence[str], names: Mapping[str, str], tables: _Tables) -> list[str]:
    """`data.label_names` must name the labels that are there, all of them, and no others."""
    known = {label for label in raw if label in names or canonical(label) in names}
    faults = [
        f"{_where(label, tables)}: the label {label!r} has no name in data.label_names, which names {quoted(names)}"
        for label in raw
        if label not in known and not (is_number(label) and Decimal(label) == -1)
    ]
    present = {*raw, *map(canonical, raw)}
    faults += [
        f"data.label_names: no row has the label {label!r}{suggestion(label, raw)}; the labels are {quoted(raw)}"
        for label in names
        if label not in present
    ]
    return faults


def refuse_absent(ordered: Sequence[str], codes: Mapping[SplitName, NDArray[np.int64]], tables: _Tables) -> None:
    """Raises `DataError` for classes that train or select lacks, and when there is only one.

    `ordered` are the class names, `codes` the (rows,) class indices by table.
    """
    train = tables["train"]
    present = np.bincount(codes["train"], minlength=len(ordered)) > 0
    faults = []
    for split, table in tables.items():
        for code in np.flatnonzero(~present).tolist():
            rows = table.rows[codes[split] == code]
            if len(rows):
                where = f"{table.shown}, {numbered(rows, table.unit)}, column {table.columns.label!r}"
                faults.append(
                    f"{where}: the class {ordered[code]!r} does not occur in {train.shown}, so nothing can learn it; "
                    "add examples there or remove these rows"
                )
    if present.sum() < 2:
        only = ordered[int(np.argmax(present))]
        faults.append(
            f"{train.shown}, column {train.columns.label!r}: every row has the label {only!r}; a classifier needs at "
            "least two classes"
        )
    faults += _lacking(ordered, codes, tables) if not faults and "select" in tables else []
    if faults:
        raise DataError("\n".join(faults))


def _lacking(ordered: Sequence[str], codes: Mapping[SplitName, NDArray[np.int64]], tables: _Tables) -> list[str]:
    """Scores on the select split rank the trials, so it must know every class."""
    select = tables["select"]
    absent = np.flatnonzero(np.bincount(codes["select"], minlength=len(ordered)) == 0)
    names = quoted([ordered[code] for code in absent.tolist()]) if len(absent) else ""
    return [f"{select.shown}: holds no row of the class {names}; add some, or leave data.select out"] if names else []


def is_number(label: str) -> bool:
    """Whether a label is a plain decimal number."""
    return _NUMBER.fullmatch(label.strip()) is not None


def canonical(label: str) -> str:
    """`1.0` as `1`; other labels without outer spaces."""
    bare = label.strip()
    return str(int(Decimal(bare))) if "." in bare and is_number(bare) and Decimal(bare) % 1 == 0 else bare


def _folded(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def grouped(labels: Iterable[str], key: Callable[[str], object]) -> list[list[str]]:
    """Those groups of labels with equal keys that have several members."""
    groups: dict[object, list[str]] = defaultdict(list)
    for label in labels:
        groups[key(label)].append(label)
    return [members for members in groups.values() if len(members) > 1]


def _spellings(labels: Sequence[str], tables: _Tables) -> str:
    return listing([f"{label!r} ({_where(label, tables)})" for label in labels])


def _where(label: str, tables: _Tables) -> str:
    """The rows with a raw label, in the first table that has it."""
    for table in tables.values():
        rows = table.rows[pc.equal(table.labels, label).to_numpy()]
        if len(rows):
            return f"{table.shown}, {numbered(rows, table.unit)}, column {table.columns.label!r}"
    raise KeyError(label)
