"""Rows of tables to the four splits, each in an order that depends on content only."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.data.keys import Keys, canonical_order
from pipelines.data.splits import cut, planned, refuse_lost, subset, units_of
from pipelines.data.values import Column, Split, Table


def assemble(
    tables: Mapping[SplitName, Table],
    codes: Mapping[SplitName, NDArray[np.int64]],
    keys: Mapping[SplitName, Keys],
    *,
    labels: Sequence[str],
    config: DataConfig,
) -> dict[SplitName, Split]:
    """All four splits: tables of their own as they are, the others cut from the train table.

    `codes` (rows,) and `keys` (rows, 2) belong to the rows of each table. Raises `DataError` and `ConfigError`
    as `planned`, `cut` and `subset`.
    """
    units = {split: units_of(keys[split], _numbers(table.groups)) for split, table in tables.items()}

    def taken(split: SplitName, rows: NDArray[np.int64]) -> Split:
        return _taken(tables[split], codes[split], units[split], rows)

    splits = dict.fromkeys(SPLIT_NAMES, taken("train", np.empty(0, np.int64)))
    own: list[SplitName] = [split for split in tables if split != "train"]
    shares = planned(config, own)
    orders = {split: canonical_order(keys[split], Column(tables[split].texts), codes[split]) for split in tables}
    for split in own:
        splits[split] = taken(split, orders[split])
    train = tables["train"]
    parts = cut(
        keys["train"],
        codes["train"],
        shares,
        units=units["train"],
        labels=labels,
        shown=train.shown,
        what="text" if train.groups is None else "group",
    )
    refuse_lost(parts, codes["train"], labels, shown=train.shown)
    for split, rows in parts.items():
        ordered = orders["train"][np.isin(orders["train"], rows)]
        if split == "train" and config.train_rows is not None:
            ordered = subset(ordered, codes["train"], config.train_rows, labels=labels)
        splits[split] = taken("train", ordered)
    return splits


def _numbers(groups: pa.ChunkedArray | None) -> NDArray[np.int64] | None:
    """(rows,) a number for each group, or None without groups."""
    if groups is None:
        return None
    numbers: NDArray[np.int64] = groups.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


def _taken(table: Table, codes: NDArray[np.int64], units: NDArray[np.int64], rows: NDArray[np.int64]) -> Split:
    """The given rows of a table as a split, in their order."""
    numbers = pa.array(table.rows[rows]).cast(pa.large_string())
    ids = pc.binary_join_element_wise(
        pa.scalar(table.name, pa.large_string()), numbers, pa.scalar(":", pa.large_string())
    )
    return Split(Column(table.texts.take(pa.array(rows))), codes[rows], Column(pa.chunked_array([ids])), units[rows])
