"""The rows that checkpoints are screened on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Dataset
from pipelines.data.keys import equal_keys, text_keys
from pipelines.data.splits import subset
from pipelines.data.values import Split
from pipelines.errors import ConfigError, DataError

MOST, LEAST, OF_A_CLASS = 2_000, 200, 10
"""Rows by default: a third of the training rows, at most and at least so many, and so many for each class. A third
keeps screening far cheaper than three epochs; beyond 2,000 rows the scores move less than their own error."""
_TEXTS = 10  # different ones that folds need


@dataclass(frozen=True, eq=False)
class Sample:
    """Some training rows, each class in its share."""

    texts: list[str]
    labels: NDArray[np.int64]
    """(rows,) class indices."""
    groups: NDArray[np.int64]
    """(rows,) a number for each row, the same for rows that splits keep together: those of a group (`data.group`), and
    texts that differ only by case and white space."""
    available: int
    """How many rows they were drawn from."""
    seed: int

    @property
    def majority(self) -> float:
        """What guessing the most frequent class gets right."""
        return float(np.bincount(self.labels).max() / len(self.labels))


def draw_sample(dataset: Dataset, *, rows: int | None = None, seed: int = 0) -> Sample:
    """A stratified sample of the train split, always the same for the same seed; `rows` None takes the default.

    Raises `ConfigError` for fewer rows than classes, `DataError` where there are too few different texts to compare on.
    """
    train, classes = dataset.splits["train"], len(dataset.labels)
    wanted = rows or max(min(MOST, len(train) // 3), LEAST, OF_A_CLASS * classes)
    if wanted < classes:
        raise ConfigError(
            f"{wanted} rows to screen on are fewer than the {classes} classes; give {OF_A_CLASS * classes} or more"
        )
    order = np.random.default_rng(seed).permutation(len(train)).astype(np.int64)
    chosen = np.sort(subset(order, train.labels, wanted, labels=dataset.labels))
    sample = _of(train, chosen, seed=seed)
    groups, what = sample.groups.max() + 1, "different texts" if train.units is None else "different texts or groups"
    if groups < _TEXTS or len(np.unique(sample.labels)) < 2:
        raise DataError(f"{dataset.name}: {groups} {what} to screen on are too few; the least is {_TEXTS}")
    return sample


def _of(train: Split, rows: NDArray[np.int64], *, seed: int) -> Sample:
    texts = [train.texts[row] for row in rows.tolist()]
    units = equal_keys(text_keys(texts, 0)) if train.units is None else train.units[rows]
    groups = np.unique(units, return_inverse=True)[1].astype(np.int64)
    return Sample(texts, np.asarray(train.labels[rows]), groups, len(train), seed)
