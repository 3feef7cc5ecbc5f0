import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from pipelines.config import SPLIT_NAMES, DataConfig, Fractions
from pipelines.data import Dataset, load_data
from pipelines.errors import ConfigError

from .rows import Refused, Write, pairs, table


def _loaded(write: Write, rows: list[tuple[str, ...]], **settings: Any) -> Dataset:
    write("reviews.csv", table(rows, header=("text", "label", "author")[: len(rows[0])]))
    return load_data(DataConfig(source="reviews.csv", **settings))


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_every_row_lands_in_exactly_one_split(write: Write) -> None:
    dataset = _loaded(write, pairs(200))
    texts = [text for split in dataset.splits.values() for text in split.texts]
    assert sorted(texts) == sorted(text for text, _ in pairs(200))


def test_fractions_hold_for_every_class_to_about_one_row(write: Write) -> None:
    rows = pairs(900, ("a", "a", "b")) + pairs(37, ("c",), start=1000)
    dataset = _loaded(write, rows, fractions=Fractions(select=0.1, calibrate=0.1, test=0.3))
    totals = {"a": 600, "b": 300, "c": 37}
    for name, share in {"train": 0.5, "select": 0.1, "calibrate": 0.1, "test": 0.3}.items():
        counts = np.bincount(dataset.splits[name].labels, minlength=3)  # type: ignore[index]
        for code, label in enumerate(dataset.labels):
            assert abs(counts[code] - share * totals[label]) <= 1


def test_small_classes_stand_in_every_split(write: Write) -> None:
    dataset = _loaded(write, pairs(100) + pairs(4, ("rare",), start=200))
    for split in dataset.splits.values():
        assert set(split.labels.tolist()) == {0, 1, 2}


def test_fraction_of_zero_leaves_its_split_empty(write: Write) -> None:
    dataset = _loaded(write, pairs(40), fractions=Fractions(select=0.5, calibrate=0, test=0))
    assert _sizes(dataset) == {"train": 20, "select": 20, "calibrate": 0, "test": 0}
    assert list(dataset.splits["test"].texts) == list(dataset.splits["test"].ids) == []


def test_no_rows_to_rank_trials_by_is_a_contradiction(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^data\.fractions\.select is 0 and data\.select names no file"):
        _loaded(write, pairs(40), fractions=Fractions(select=0))


def test_fewer_rows_than_splits_are_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(3)))
    assert refused("reviews.csv") == (
        "reviews.csv: 3 rows cannot fill 4 splits (test, calibrate, select and train); add rows"
    )


def test_own_files_replace_the_fractions_of_their_splits(write: Write) -> None:
    write("own.csv", table(pairs(10, start=500)))
    dataset = _loaded(write, pairs(200), test="own.csv")
    assert _sizes(dataset) == {"train": 160, "select": 30, "calibrate": 10, "test": 10}


def test_order_of_the_file_changes_neither_splits_nor_digest(write: Write) -> None:
    rows = [*pairs(60), ("Example number 0", "negative"), ("example number 0", "positive")]
    first = _loaded(write, rows)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        again = _loaded(write, rows)
        assert again.digest == first.digest
        for name in SPLIT_NAMES:
            assert list(again.splits[name].texts) == list(first.splits[name].texts)
            assert again.splits[name].labels.tolist() == first.splits[name].labels.tolist()


def test_order_of_the_file_does_not_matter_with_groups_either(write: Write) -> None:
    rows: list[tuple[str, ...]] = [
        (text, label, f"author {row * 7 % 30}") for row, (text, label) in enumerate(pairs(120))
    ]
    first = _loaded(write, rows, group="author")
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        assert _loaded(write, rows, group="author").digest == first.digest


def test_order_of_an_own_file_does_not_matter_either(write: Write) -> None:
    own = pairs(10, start=500)
    write("own.csv", table(own))
    first = _loaded(write, pairs(60), test="own.csv")
    write("own.csv", table(own[::-1]))
    assert _loaded(write, pairs(60), test="own.csv").digest == first.digest


def test_another_split_seed_draws_another_split(write: Write) -> None:
    first, second = (_loaded(write, pairs(60), split_seed=seed) for seed in (0, 1))
    assert _sizes(first) == _sizes(second)
    assert set(first.splits["test"].texts) != set(second.splits["test"].texts)
    assert first.digest != second.digest


def test_other_fractions_for_the_rest_leave_the_test_split_as_it_is(write: Write) -> None:
    few = _loaded(write, pairs(100), fractions=Fractions(select=0.1, calibrate=0, test=0.2))
    many = _loaded(write, pairs(100), fractions=Fractions(select=0.3, calibrate=0.1, test=0.2))
    assert list(few.splits["test"].texts) == list(many.splits["test"].texts)


def test_equal_texts_land_in_one_split_whatever_their_case_and_spaces(write: Write) -> None:
    rows = [(variant, label) for text, label in pairs(60) for variant in (text, f" {text.upper()} ", text)]
    dataset = _loaded(write, rows)
    homes = [{" ".join(text.lower().split()) for text in split.texts} for split in dataset.splits.values()]
    assert sum(map(len, homes)) == 60 == len(set.union(*homes))


def test_equal_groups_land_in_one_split(write: Write) -> None:
    rows = [(text, label, f"author {row % 40}") for row, (text, label) in enumerate(pairs(400))]
    dataset = _loaded(write, rows, group="author")
    homes = [{int(text.split()[-1]) % 40 for text in split.texts} for split in dataset.splits.values()]
    assert sum(map(len, homes)) == 40
    assert all(homes)


def test_texts_that_several_groups_share_tie_these_groups_together(write: Write) -> None:
    rows = [(f"text {row}", ("negative", "positive")[row % 2], f"author {row}") for row in range(40)]
    rows += [("shared", "negative", "author 0"), ("Shared", "negative", "author 2")]
    dataset = _loaded(write, rows, group="author")
    (home,) = [set(split.texts) for split in dataset.splits.values() if "shared" in list(split.texts)]
    assert {"text 0", "text 2", "shared", "Shared"} <= home


def test_class_with_too_few_groups_is_refused(write: Write, refused: Refused) -> None:
    rows = [(text, label, f"{label} {row % 6 // 2}") for row, (text, label) in enumerate(pairs(60))]
    write("reviews.csv", table(rows, header=("text", "label", "author")))
    assert "the class 'negative' has only 3 different groups, but each of the 4 splits" in refused(
        "reviews.csv", group="author"
    )


def _with_a_minority(groups: int) -> list[tuple[str, ...]]:
    """80 rows of 20 authors; the first `groups` of them have also written one rare row each."""
    rows = [(text, label, f"author {row // 4}") for row, (text, label) in enumerate(pairs(80))]
    return rows + [(f"rare {author}", "rare", f"author {author}") for author in range(groups)]


def test_class_that_is_a_minority_in_all_its_groups_is_split_with_them(write: Write) -> None:
    dataset = _loaded(write, _with_a_minority(20), group="author")
    assert all(set(split.labels.tolist()) == {0, 1, 2} for split in dataset.splits.values())


def test_class_that_its_groups_keep_out_of_a_split_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(_with_a_minority(4), header=("text", "label", "author")))
    assert refused("reviews.csv", group="author") == (
        "reviews.csv: the class 'rare' has no row in select, because its groups must stay together; use another "
        "data.split_seed, smaller groups, or a file of its own for that split"
    )


def test_subset_of_train_is_stratified_reproducible_and_nested(write: Write) -> None:
    rows = pairs(300, ("a", "a", "b"))
    small, large = (_loaded(write, rows, train_rows=count) for count in (30, 90))
    assert np.bincount(small.splits["train"].labels).tolist() == [20, 10]
    assert set(small.splits["train"].texts) < set(large.splits["train"].texts)
    assert list(small.splits["test"].texts) == list(large.splits["test"].texts)
    assert _loaded(write, rows[::-1], train_rows=30).digest == small.digest


def test_subset_keeps_a_row_of_every_class(write: Write) -> None:
    dataset = _loaded(write, pairs(300) + pairs(6, ("rare",), start=500), train_rows=4)
    assert Counter(dataset.splits["train"].labels.tolist()).keys() == {0, 1, 2}
    assert len(dataset.splits["train"]) == 4


def test_subset_larger_than_train_changes_nothing(write: Write) -> None:
    assert _loaded(write, pairs(60), train_rows=1000).digest == _loaded(write, pairs(60)).digest


def test_subset_smaller_than_the_classes_is_a_contradiction(write: Write) -> None:
    with pytest.raises(
        ConfigError, match=r"^data\.train_rows is 2, but there are 3 classes, each needs a row; raise it$"
    ):
        _loaded(write, pairs(60, ("a", "b", "c")), train_rows=2)


def test_digest_depends_on_content_and_not_on_the_name(write: Write) -> None:
    first = _loaded(write, pairs(60))
    write("other.csv", table(pairs(60)))
    assert load_data(DataConfig(source="other.csv")).digest == first.digest
    assert _loaded(write, [*pairs(59), ("example number 59!", "positive")]).digest != first.digest
    assert _loaded(write, pairs(60, ("negative", "positiv"))).digest != first.digest
