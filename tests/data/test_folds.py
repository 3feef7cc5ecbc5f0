"""Train and select rows dealt out anew."""

from typing import Any

import numpy as np
import pytest

from pipelines.config import DataConfig
from pipelines.data import Dataset, folds, load_data, open_dataset, save_dataset
from pipelines.data.values import Split
from pipelines.errors import DataError

from .rows import Write, pairs, table


def _loaded(write: Write, rows: list[tuple[str, ...]], **settings: Any) -> Dataset:
    write("reviews.csv", table(rows, header=("text", "label", "author")[: len(rows[0])]))
    return load_data(DataConfig(source="reviews.csv", **settings))


def _texts(split: Split) -> set[str]:
    return {*split.texts}


def test_each_row_of_train_and_select_is_held_out_once_and_trained_on_otherwise(write: Write) -> None:
    dataset = _loaded(write, pairs(400))
    pool = _texts(dataset.splits["train"]) | _texts(dataset.splits["select"])
    dealt = folds(dataset, 4, seed=1)
    held_out = [text for fold in dealt for text in fold.splits["select"].texts]
    assert sorted(held_out) == sorted(pool)
    for fold in dealt:
        assert _texts(fold.splits["train"]) == pool - _texts(fold.splits["select"])
        assert len(fold.splits["select"]) == pytest.approx(len(pool) / 4, abs=2)
        assert len(fold.splits["test"]) == len(fold.splits["calibrate"]) == 0


def test_labels_and_ids_stay_with_their_texts(write: Write) -> None:
    dataset = _loaded(write, pairs(60))
    parts = [dataset.splits["train"], dataset.splits["select"]]
    told = {
        text: (label, id)
        for part in parts
        for text, label, id in zip(part.texts, part.labels.tolist(), part.ids, strict=True)
    }
    for fold in folds(dataset, 3, seed=1):
        for split in fold.splits.values():
            for text, label, id in zip(split.texts, split.labels.tolist(), split.ids, strict=True):
                assert told[text] == (label, id)


def test_another_seed_deals_anew_and_the_same_seed_the_same(write: Write) -> None:
    dataset = _loaded(write, pairs(200))
    first, again, other = (folds(dataset, 2, seed=seed) for seed in (1, 1, 2))
    assert [fold.digest for fold in first] == [fold.digest for fold in again]
    assert _texts(first[0].splits["select"]) != _texts(other[0].splits["select"])


def test_rows_of_one_group_stay_in_one_fold(write: Write, tmp_path: Any) -> None:
    rows = [(f"text {number}", "ab"[number % 2], f"author {number % 40}") for number in range(400)]
    save_dataset(_loaded(write, rows, group="author"), tmp_path / "saved")
    dataset = open_dataset(tmp_path / "saved")
    for fold in folds(dataset, 5, seed=3):
        authors = [
            {int(text.split()[1]) % 40 for text in fold.splits[split].texts}  # type: ignore[index]
            for split in ("train", "select")
        ]
        assert not authors[0] & authors[1]


def test_a_class_with_fewer_texts_than_folds_is_refused(write: Write) -> None:
    dataset = _loaded(write, pairs(200) + pairs(5, ("rare",), start=400))
    rare = np.concatenate([dataset.splits[split].labels for split in ("train", "select")])  # type: ignore[index]
    assert (rare == dataset.labels.index("rare")).sum() == 3
    with pytest.raises(DataError, match="the class 'rare' has only 3 different texts, but each of the 4 splits"):
        folds(dataset, 4, seed=1)


def test_rows_that_were_stored_without_their_groups_are_refused(write: Write) -> None:
    from dataclasses import replace

    dataset = _loaded(write, pairs(60))
    forgotten = {name: replace(split, units=None) for name, split in dataset.splits.items()}
    with pytest.raises(DataError, match="stored by an earlier release"):
        folds(replace(dataset, splits=forgotten), 2, seed=1)
