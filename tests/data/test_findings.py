from pathlib import Path

import pytest

from pipelines.config import DataConfig
from pipelines.data import load_data

from .rows import Refused, Write, pairs, table


def test_repeated_texts_are_noted_with_their_lines(write: Write) -> None:
    write("reviews.csv", table([*pairs(20), ("Example  NUMBER 0", "negative"), ("example number 1", "positive")]))
    assert load_data(DataConfig(source="reviews.csv")).notes == (
        "reviews.csv: rows that repeat the text of an earlier row: 2 (lines 22 and 23).",
    )


def test_one_text_with_different_labels_is_noted(write: Write) -> None:
    write("reviews.csv", table([*pairs(20), ("example number 0", "positive")]))
    assert load_data(DataConfig(source="reviews.csv")).notes[1] == (
        "reviews.csv: texts with different labels: 1, for instance line 2 (negative) and line 22 (positive)."
    )


def test_label_inside_nearly_all_texts_is_noted(write: Write) -> None:
    rows = [(f"{text}: [{label.upper()}]", label) for text, label in pairs(38)]
    write("reviews.csv", table([*rows, ("without", "positive"), ("nothing", "negative")]))
    assert load_data(DataConfig(source="reviews.csv")).notes == (
        "reviews.csv: 38 of 40 texts hold the name of their own label; a model that only spots it will look good, so "
        "check whether the label leaks into the text.",
    )


@pytest.mark.parametrize("suffix", ["negatively positively", "negative positive"])
def test_label_names_that_tell_nothing_are_not_noted(write: Write, suffix: str) -> None:
    write("reviews.csv", table([(f"{text} {suffix}", label) for text, label in pairs(40)]))
    assert load_data(DataConfig(source="reviews.csv")).notes == ()


@pytest.mark.parametrize("split", ["select", "calibrate", "test"])
def test_overlap_of_train_and_own_file_is_refused_with_the_lines_of_both(
    write: Write, refused: Refused, split: str
) -> None:
    write("train.csv", table(pairs(20)))
    write("own.csv", table([*pairs(6, start=100), ("Example number  3", "positive"), ("example number 4", "negative")]))
    assert refused("train.csv", **{split: "own.csv"}) == (
        "train.csv, lines 5 and 6, and own.csv, lines 8 and 9, hold the same texts (2 rows of train.csv, 2 rows of "
        "own.csv); delete them from one of the two, or set data.allow_overlap: true to accept them"
    )


def test_a_test_file_that_repeats_50_training_rows_is_refused_with_their_row_numbers(
    write: Write, refused: Refused
) -> None:
    write("train.csv", table([*pairs(300), ("Example number 270", "positive")]))
    write("test.csv", table([*pairs(40, start=1000), *pairs(50, start=250)]))
    assert refused("train.csv", test="test.csv") == (
        "train.csv, lines 252, 253, 254, 255, 256 and 46 more, and test.csv, lines 42, 43, 44, 45, 46 and 45 more, "
        "hold the same texts (51 rows of train.csv, 50 rows of test.csv); delete them from one of the two, or set "
        "data.allow_overlap: true to accept them"
    )


def test_overlap_of_two_own_files_is_refused(write: Write, refused: Refused) -> None:
    write("train.csv", table(pairs(20)))
    write("a.csv", table(pairs(6, start=100)))
    write("b.csv", table(pairs(6, start=105)))
    message = refused("train.csv", select="a.csv", test="b.csv")
    assert message.startswith("a.csv, line 7, and b.csv, line 2, hold the same texts (1 row of a.csv, 1 row of b.csv);")


def test_accepted_overlap_is_kept_and_noted(write: Write) -> None:
    write("train.csv", table(pairs(20)))
    write("own.csv", table(pairs(20)))
    dataset = load_data(DataConfig(source="train.csv", test="own.csv", allow_overlap=True))
    assert len(dataset.splits["test"]) == 20
    assert sum(len(split) for split in dataset.splits.values()) == 40
    assert dataset.notes == (
        "train.csv, lines 2, 3, 4, 5, 6 and 15 more, and own.csv, lines 2, 3, 4, 5, 6 and 15 more, hold the same texts "
        "(20 rows of train.csv, 20 rows of own.csv).",
    )


def test_group_that_stands_in_train_and_own_file_is_refused(write: Write, refused: Refused) -> None:
    def authored(rows: list[tuple[str, str]], names: str) -> str:
        by_author = [(text, label, names[row % len(names)]) for row, (text, label) in enumerate(rows)]
        return table(by_author, header=("text", "label", "author"))

    write("train.csv", authored(pairs(60), "abcdefghijklmno"))
    write("own.csv", authored(pairs(6, start=100), "oxyz"))
    assert refused("train.csv", test="own.csv", group="author") == (
        "train.csv, lines 16, 31, 46 and 61, and own.csv, lines 2 and 6, hold the same 'author' (4 rows of train.csv, "
        "2 rows of own.csv); delete them from one of the two, or set data.allow_overlap: true to accept them"
    )


def test_ids_name_the_file_that_each_row_came_from(write: Write, tmp_path: Path) -> None:
    write("train.csv", table(pairs(20)))
    write("own.csv", table(pairs(6, start=100)))
    splits = load_data(DataConfig(source=str(tmp_path / "train.csv"), test="own.csv")).splits
    assert sorted(splits["test"].ids) == [f"own.csv:{line}" for line in range(2, 8)]
    others = [row for name in ("train", "select", "calibrate") for row in splits[name].ids]  # type: ignore[index]
    assert sorted(others) == sorted(f"train.csv:{line}" for line in range(2, 22))
