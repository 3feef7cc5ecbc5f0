"""Cut rows into splits by the hash of their text: the same rows give the same splits in whatever order they come."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.config import DataConfig, SplitName
from pipelines.data.keys import Keys, by_key, equal_keys
from pipelines.data.wording import counted, listing
from pipelines.errors import ConfigError, DataError

Indices = NDArray[np.int64]
Part = TypeVar("Part", bound=str)

# Test is cut first, so that other fractions for the rest leave it as it is.
_CUT_ORDER: tuple[SplitName, ...] = ("test", "calibrate", "select")


def planned(config: DataConfig, own: Sequence[SplitName]) -> dict[SplitName, float]:
    """Shares of the train file by split, in the order of cutting; `own` are the splits with files of their own.

    Raises `ConfigError` when no rows would rank the trials.
    """
    if "select" not in own and config.fractions.select == 0:
        raise ConfigError(
            "data.fractions.select is 0 and data.select names no file, but trials need rows to be ranked by; "
            "set one of them"
        )
    shares = {split: getattr(config.fractions, split) for split in _CUT_ORDER if split not in own}
    parts = {split: share for split, share in shares.items() if share > 0}
    return {**parts, "train": 1 - sum(parts.values())}


def cut(
    keys: Keys,
    codes: Indices,
    shares: Mapping[Part, float],
    *,
    units: Indices,
    labels: Sequence[str],
    shown: str,
    what: str = "text",
) -> dict[Part, Indices]:
    """Row indices by part, stratified by class; rows of equal unit stay together.

    `keys` (rows, 2), `codes` (rows,) class indices, `units` (rows,) as of `units_of`; `shown` names the file in
    messages, `what` a unit. Raises `DataError` when a class has too few units to stand in every part.
    """
    _refuse_few_rows(len(codes), [*shares], shown)
    _refuse_rare(units, codes, [*shares], labels=labels, what=what, shown=shown)
    strata = _majority(units, codes, len(labels))
    rank = _ranks(units, keys)
    sizes = np.bincount(units)
    part_of_unit = np.empty(len(sizes), np.int64)
    for code in range(len(labels)):
        members = np.flatnonzero(strata == code)
        members = members[np.argsort(rank[members])]
        part_of_unit[members] = _parts(sizes[members], list(shares.values()))
    part_of_row = part_of_unit[units]
    return {split: np.flatnonzero(part_of_row == part) for part, split in enumerate(shares)}


def units_of(keys: Keys, groups: Indices | None) -> Indices:
    """(rows,) a number for what must not be torn apart: equal texts, and with groups whatever they connect.

    `keys` (rows, 2), `groups` (rows,) group numbers.
    """
    texts = equal_keys(keys)
    if groups is None:
        return texts
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    offset = texts.max() + 1
    size = offset + groups.max() + 1
    edges = coo_matrix((np.ones(len(texts), np.int8), (texts, offset + groups)), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    return np.unique(component[texts], return_inverse=True)[1].astype(np.int64)


def refuse_lost(parts: Mapping[SplitName, Indices], codes: Indices, labels: Sequence[str], *, shown: str) -> None:
    """Raise `DataError` for a class without a row in train or select, which may happen where groups stay together.

    Rows of a class that stands in the minority of every group it is in may all land in one split.
    """
    for split in [split for split in parts if split in ("train", "select")]:
        for code in np.flatnonzero(np.bincount(codes[parts[split]], minlength=len(labels)) == 0).tolist():
            raise DataError(
                f"{shown}: the class {labels[code]!r} has no row in {split}, because its groups must stay together; "
                "use another data.split_seed, smaller groups, or a file of its own for that split"
            )


def subset(order: Indices, codes: Indices, rows: int, *, labels: Sequence[str]) -> Indices:
    """The first `rows` of `order`, each class in its share and present; a larger subset holds a smaller one's rows.

    `order` (n,) row indices in canonical order, `codes` class indices of all rows. Raises `ConfigError` when
    there are more classes than rows.
    """
    if rows >= len(order):
        return order
    if rows < len(labels):
        raise ConfigError(f"data.train_rows is {rows}, but there are {len(labels)} classes, each needs a row; raise it")
    strata = codes[order]
    counts = np.bincount(strata, minlength=len(labels))
    wanted = _apportioned(counts, rows)
    place = np.empty(len(order), np.int64)  # of each row within its class
    for code in range(len(labels)):
        members = np.flatnonzero(strata == code)
        place[members] = np.arange(len(members))
    return order[place < wanted[strata]]


def _majority(units: Indices, codes: Indices, classes: int) -> Indices:
    """(units,) the most frequent class of each unit, the lower one in a tie."""
    pairs, counts = np.unique(units * classes + codes, return_counts=True)
    unit, code = pairs // classes, pairs % classes
    order = np.lexsort((code, -counts, unit))
    first = np.unique(unit[order], return_index=True)[1]
    majority: Indices = code[order][first]
    return majority


def _ranks(units: Indices, keys: Keys) -> Indices:
    """(units,) where each unit stands in the order of its smallest key."""
    ranks: Indices = np.unique(units[by_key(keys)], return_index=True)[1]
    return ranks


def _parts(sizes: Indices, shares: Sequence[float]) -> Indices:
    """(units,) the part of each unit of one stratum, by the middle of its rows; none is left empty if it can be."""
    middle = np.cumsum(sizes) - sizes / 2
    bounds = np.cumsum(shares)[:-1] * sizes.sum()
    parts = np.searchsorted(bounds, middle, side="right")
    while (counts := np.bincount(parts, minlength=len(shares))).max() > 1 and counts.min() == 0:
        parts[np.flatnonzero(parts == counts.argmax())[-1]] = counts.argmin()
    return parts.astype(np.int64)


def _apportioned(counts: Indices, rows: int) -> Indices:
    """(classes,) whole rows for each class in proportion to `counts`, at least one, `rows` in all."""
    exact = rows * counts / counts.sum()
    wanted: Indices = np.maximum(np.floor(exact).astype(np.int64), 1)
    while wanted.sum() != rows:
        gap = exact - wanted
        if wanted.sum() < rows:
            wanted[np.argmax(gap)] += 1
        else:
            wanted[np.argmin(np.where(wanted > 1, gap, np.inf))] -= 1
    return wanted


def _refuse_few_rows(rows: int, splits: Sequence[str], shown: str) -> None:
    if rows < len(splits):
        raise DataError(
            f"{shown}: {counted(rows, 'row')} cannot fill {len(splits)} splits ({listing(splits)}); add rows"
        )


def _refuse_rare(
    units: Indices, codes: Indices, splits: Sequence[str], *, labels: Sequence[str], what: str, shown: str
) -> None:
    """Rows that stay together fill one split only, so each class needs as many texts or groups as there are splits."""
    holds = np.unique(units * len(labels) + codes) % len(labels)
    counts = np.bincount(holds, minlength=len(labels))
    faults = [
        f"{shown}: the class {labels[code]!r} has only {counted(int(counts[code]), f'different {what}')}, but each of "
        f"the {len(splits)} splits cut from the train file ({listing(splits)}) needs one; add examples or "
        "remove the class"
        for code in np.flatnonzero(counts < len(splits)).tolist()
    ]
    if faults:
        raise DataError("\n".join(faults))
