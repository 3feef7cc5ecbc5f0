"""Train and select rows dealt out anew, so that each of them is judged once by a model that has not seen it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES, SplitName
from pipelines.data.digest import content_digest
from pipelines.data.keys import canonical_order, text_keys
from pipelines.data.splits import cut, refuse_lost
from pipelines.data.values import Column, Dataset, Split
from pipelines.errors import DataError


def folds(dataset: Dataset, count: int, *, seed: int) -> tuple[Dataset, ...]:
    """`count` data sets over the rows of `dataset`'s train and select splits, for cross-validation.

    The select splits together are all these rows, each once; the train split of each is the rest. They are stratified,
    rows that belong together stay together, and another `seed` deals them out anew. Calibrate and test are empty:
    nobody has a look at those. Raises `DataError` where a class has too few texts or groups, or it is not known which
    rows belong together.
    """
    pool = _joined(dataset.splits["train"], dataset.splits["select"], shown=dataset.name)
    keys = text_keys(pool.texts, seed)
    shares = {f"fold {number}": 1 / count for number in range(1, count + 1)}
    parts = cut(keys, pool.labels, shares, units=_units(pool), labels=dataset.labels, shown=dataset.name)
    order = canonical_order(keys, pool.texts, pool.labels)
    return tuple(_fold(dataset, pool, order, held_out=part) for part in parts.values())


def _fold(dataset: Dataset, pool: Split, order: NDArray[np.int64], *, held_out: NDArray[np.int64]) -> Dataset:
    out = np.isin(order, held_out)
    rows: dict[SplitName, NDArray[np.int64]] = {"train": order[~out], "select": order[out]}
    refuse_lost(rows, pool.labels, dataset.labels, shown=dataset.name)
    splits = {split: _taken(pool, rows.get(split, order[:0])) for split in SPLIT_NAMES}
    return replace(dataset, splits=splits, digest=content_digest(dataset.labels, splits))


def _joined(*splits: Split, shown: str) -> Split:
    if any(split.units is None for split in splits):
        raise DataError(
            f"{shown}: it was stored by an earlier release, without word of which rows belong together; "
            "start a new study to have folds"
        )
    return Split(
        Column(pa.chunked_array([pa.array([*split.texts], pa.large_string()) for split in splits])),
        np.concatenate([split.labels for split in splits]),
        Column(pa.chunked_array([pa.array([*split.ids], pa.large_string()) for split in splits])),
        np.concatenate([split.units for split in splits if split.units is not None]),
    )


def _units(pool: Split) -> NDArray[np.int64]:
    """(rows,) numbered from 0, without gaps."""
    assert pool.units is not None
    numbers: NDArray[np.int64] = np.unique(pool.units, return_inverse=True)[1].astype(np.int64)
    return numbers


def _taken(pool: Split, rows: NDArray[np.int64]) -> Split:
    return Split(_column(pool.texts, rows), pool.labels[rows], _column(pool.ids, rows), _units(pool)[rows])


def _column(values: Sequence[str], rows: NDArray[np.int64]) -> Column:
    assert isinstance(values, Column)
    return Column(values.values.take(pa.array(rows)))
