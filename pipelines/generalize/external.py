"""Another data set as rows that a model can be tested on: read as strictly as training data, in the model's classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.data import Dataset, Split
from pipelines.data.content import check_rows
from pipelines.data.digest import content_digest
from pipelines.data.keys import by_key, canonical_order, text_keys
from pipelines.data.labelchecks import refuse_too_many_classes
from pipelines.data.sources import read_source
from pipelines.data.values import Column, Source, Table
from pipelines.data.wording import counted, quoted
from pipelines.errors import DataError
from pipelines.generalize.labels import match_labels

ROWS: SplitName = "test"
"""The split that holds all rows of an external data set; the others are empty."""


@dataclass(frozen=True, eq=False)
class External:
    """A data set in a model's classes."""

    key: str
    """Its name with nothing that MLflow does not take: `amazon`, `reviews.csv`."""
    dataset: Dataset
    """All rows are in the split `test`; the classes are the model's, in the model's order."""
    matched: Mapping[str, str | None]
    """Its own labels as classes; None where the rows were left out."""

    @property
    def rows(self) -> Split:
        """The rows, in an order that depends on their content only."""
        return self.dataset.splits[ROWS]


def load_external(
    config: DataConfig, labels: Sequence[str], *, told: Mapping[str, str], most: int | None = None
) -> External:
    """Read the rows that `config.source` names, for a model with the classes `labels`.

    Of a published data set with test rows of its own, these; of any other, all rows. `told` maps its labels, see
    `match_labels`; of more than `most` rows, so many are drawn by a hash of their texts, the same each time. Raises
    `DataError` and `ConfigError` for data that cannot be read or matched, or of which no row is left.
    """
    source = read_source(config)
    table, notes = _table(source, config)
    refuse_too_many_classes(sorted(set(table.labels.to_pylist())), table)
    encoded = table.labels.combine_chunks().dictionary_encode()
    raw = encoded.dictionary.to_pylist()
    matched = match_labels(sorted(raw), labels, told=told, shown=table.shown)
    codes = np.array([_code(matched[label], labels) for label in raw], np.int64)[encoded.indices.to_numpy()]
    rows = _chosen(table, codes, most=most)
    if not len(rows):
        raise DataError(f"{table.shown}: no row is left to test on; map at least one label to a class of the model")
    part = _split(table, codes, rows)
    notes += _notes(table, codes, matched, kept=len(rows))
    notes += _lacking(table, part, labels)
    splits = dict.fromkeys(SPLIT_NAMES, _split(table, codes, rows[:0])) | {ROWS: part}
    digest = content_digest(labels, splits)
    dataset = Dataset(source.name, source.address, tuple(labels), splits, digest=digest, notes=tuple(notes))
    return External(key_of(source.name), dataset, matched)


def without(external: External, hashes: NDArray[np.uint64], *, why: str) -> External:
    """The data set without rows whose texts have one of these hashes (`data.text_hashes`), and a note that says why.

    Raises `DataError` where no row is left.
    """
    dataset, rows = external.dataset, external.rows
    kept = ~np.isin(text_keys(rows.texts, seed=0)[:, 0], hashes)
    if kept.all():
        return external
    note = f"{dataset.name}: {counted(int((~kept).sum()), 'row')} left out: {why}."
    if not kept.any():
        raise DataError(f"{note[:-1]}; no row is left to test on")
    places = np.flatnonzero(kept).tolist()
    part = Split([rows.texts[row] for row in places], rows.labels[kept], [rows.ids[row] for row in places])
    splits = {**dataset.splits, ROWS: part}
    digest = content_digest(dataset.labels, splits)
    found = replace(dataset, splits=splits, digest=digest, notes=(*dataset.notes, note))
    return replace(external, dataset=found)


def as_external(dataset: Dataset, split: SplitName, *, labels: Sequence[str], most: int | None = None) -> External:
    """One split of a data set as rows to test on, in a model's order of the same classes; the first `most` rows."""
    part = dataset.splits[split]  # its rows stand in the order of a hash, so the first are a sample
    place = np.array([list(labels).index(name) for name in dataset.labels], np.int64)
    rows = Split(part.texts[:most], place[part.labels[:most]], part.ids[:most])
    splits = dict.fromkeys(SPLIT_NAMES, Split([], rows.labels[:0], [])) | {ROWS: rows}
    name = f"{dataset.name} ({split})"
    digest = content_digest(labels, splits)
    found = Dataset(name, dataset.source, tuple(labels), splits, digest=digest, notes=())
    return External(key_of(f"{dataset.name}-{split}"), found, {label: label for label in labels})


def _lacking(table: Table, part: Split, labels: Sequence[str]) -> list[str]:
    names = [name for index, name in enumerate(labels) if not (part.labels == index).any()]
    what = "class" if len(names) == 1 else "classes"
    return [f"{table.shown}: has no row of the model's {what} {quoted(names)}."] if names else []


def _table(source: Source, config: DataConfig) -> tuple[Table, list[str]]:
    """The checked rows to test on, and what is to be known of them."""
    own = source.tables.get(ROWS)
    table = check_rows(source.tables["train"] if own is None else own, config)
    if not len(table):
        raise DataError(f"{table.shown}: has no rows; give a file with at least one row per example")
    notes = [] if own is None else [f"{source.name}: its own test rows are taken ({own.shown})."]
    return table, [*table.notes, *notes]


def _code(name: str | None, labels: Sequence[str]) -> int:
    return -1 if name is None else list(labels).index(name)


def _chosen(table: Table, codes: NDArray[np.int64], *, most: int | None) -> NDArray[np.int64]:
    """The rows that are tested, in their canonical order."""
    texts = Column(table.texts)
    keys = text_keys(texts, seed=0)
    rows = canonical_order(keys, texts, codes)
    rows = rows[codes[rows] >= 0]
    if most is None or most >= len(rows):
        return rows
    drawn = by_key(text_keys(texts, seed=1))  # another order than that of near neighbours in the file or the splits
    drawn = drawn[codes[drawn] >= 0][:most]
    return rows[np.isin(rows, drawn)]


def _notes(table: Table, codes: NDArray[np.int64], matched: Mapping[str, str | None], *, kept: int) -> list[str]:
    notes = []
    renamed = [f"{label!r} is {name!r}" for label, name in matched.items() if name is not None and label != name]
    if renamed:
        notes.append(f"{table.shown}: {', '.join(renamed)}.")
    left_out, usable = int((codes < 0).sum()), int((codes >= 0).sum())
    if left_out:
        names = quoted([label for label, name in matched.items() if name is None])
        notes.append(f"{table.shown}: {counted(left_out, 'row')} of {names} left out.")
    if kept < usable:
        notes.append(f"{table.shown}: {kept:,} of {counted(usable, 'row')} drawn.")
    return notes


def _split(table: Table, codes: NDArray[np.int64], rows: NDArray[np.int64]) -> Split:
    ids = [f"{table.name}:{number}" for number in table.rows[rows].tolist()]
    return Split(Column(table.texts.take(pa.array(rows))), codes[rows], ids)


def key_of(name: str) -> str:
    """The name of a data set with nothing that MLflow, a file or a study does not take in its name."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:80].strip("-.") or "data"
