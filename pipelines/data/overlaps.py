"""Rows that stand in two splits at once: a model would be judged on what it has learned by heart."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.data.keys import Keys, equal_keys
from pipelines.data.values import Table
from pipelines.data.wording import counted, numbered
from pipelines.errors import DataError

Rows = NDArray[np.bool_]


class Overlap(NamedTuple):
    """What two tables share: `rows` of the first one, and a sentence that names the rows of both."""

    first: SplitName
    rows: Rows
    sentence: str


def resolve_overlaps(
    tables: Mapping[SplitName, Table], keys: Mapping[SplitName, Keys], config: DataConfig, *, published: bool
) -> tuple[Rows, list[str]]:
    """(rows of train,) which ones to train on, and notes.

    Files of the user that overlap are refused with `DataError`, unless `data.allow_overlap`. The splits of a
    published data set (a sample included) stay as they are, but for train, which loses what the others hold too.
    """
    found = list(_overlaps(tables, keys))
    kept = np.ones(len(tables["train"]), bool)
    if found and not (config.allow_overlap or published):
        remedy = "delete them from one of the two, or set data.allow_overlap: true to accept them"
        raise DataError("\n".join(f"{overlap.sentence}; {remedy}" for overlap in found))
    if published and not config.allow_overlap:
        for overlap in found:
            if overlap.first == "train":
                kept &= ~overlap.rows
    notes = [f"{overlap.sentence}." for overlap in found]
    if not kept.all():
        notes.append(f"{tables['train'].shown}: {counted(int((~kept).sum()), 'such row')} left out of train.")
    return kept, notes


def _overlaps(tables: Mapping[SplitName, Table], keys: Mapping[SplitName, Keys]) -> Iterator[Overlap]:
    present = [split for split in SPLIT_NAMES if split in tables]
    for position, second in enumerate(present):
        for first in present[:position]:
            one, two = tables[first], tables[second]
            shared = _same_texts(keys[first], keys[second])
            if shared[0].any():
                yield Overlap(first, shared[0], _sentence(one, two, shared, what="the same texts"))
            if one.groups is not None and two.groups is not None:
                shared = _same_groups(one.groups, two.groups)
                if shared[0].any():
                    what = f"the same {one.columns.group!r}"
                    yield Overlap(first, shared[0], _sentence(one, two, shared, what=what))


def _same_texts(one: Keys, two: Keys) -> tuple[Rows, Rows]:
    numbers = equal_keys(np.concatenate((one, two)))
    first, second = numbers[: len(one)], numbers[len(one) :]
    return np.isin(first, second), np.isin(second, first)


def _same_groups(one: pa.ChunkedArray, two: pa.ChunkedArray) -> tuple[Rows, Rows]:
    return pc.is_in(one, two.unique()).to_numpy(), pc.is_in(two, one.unique()).to_numpy()


def _sentence(one: Table, two: Table, shared: tuple[Rows, Rows], *, what: str) -> str:
    first, second = one.rows[shared[0]], two.rows[shared[1]]
    return (
        f"{one.shown}, {numbered(first, one.unit)}, and {two.shown}, {numbered(second, two.unit)}, hold {what} "
        f"({counted(len(first), 'row')} of {one.shown}, {counted(len(second), 'row')} of {two.shown})"
    )
