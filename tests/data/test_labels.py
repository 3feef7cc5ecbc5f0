from collections import Counter

import pytest

from pipelines.config import DataConfig
from pipelines.data import labelchecks, load_data
from pipelines.data.values import Dataset
from pipelines.errors import ConfigError

from .rows import Refused, Write, pairs, table


def _loaded(write: Write, labels: tuple[str, ...], **names: str) -> Dataset:
    write("reviews.csv", table(pairs(60, labels)))
    return load_data(DataConfig(source="reviews.csv", label_names=names))


def test_whole_numbers_written_with_a_point_are_whole_numbers(write: Write) -> None:
    assert _loaded(write, ("1.0", "0.0", "2.0")).labels == ("0", "1", "2")


def test_one_number_written_in_two_ways_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20, ("0", "1")), ("odd", "1.0")]))
    assert refused("reviews.csv") == (
        "'1' (reviews.csv, lines 3, 5, 7, 9, 11 and 5 more, column 'label') and '1.0' (reviews.csv, line 22, column "
        "'label') are the same number; write it in one way"
    )


def test_numbers_mixed_with_words_are_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20, ("0", "1")), ("odd", "positive")]))
    assert refused("reviews.csv") == (
        "reviews.csv, lines 2, 4, 6, 8, 10 and 5 more, column 'label': is the number 0, but reviews.csv, line 22, "
        "column 'label': is the word 'positive'; use one kind, or name every label in data.label_names"
    )


@pytest.mark.parametrize("written", ["-1", "-1.0"])
def test_minus_one_is_refused_as_not_labelled(write: Write, refused: Refused, written: str) -> None:
    write("reviews.csv", table([*pairs(20, ("0", "1")), ("odd", written)]))
    assert refused("reviews.csv") == (
        f"reviews.csv, line 22, column 'label': is {written}, which usually means 'not labelled'; remove these rows or "
        "name another split, or, if it is a class of its own, name it in data.label_names, for instance "
        '{"-1": negative}'
    )


def test_minus_one_is_a_class_when_it_is_named(write: Write) -> None:
    dataset = _loaded(write, ("1", "-1"), **{"-1": "negative", "1": "positive"})
    assert dataset.labels == ("negative", "positive")


def test_gaps_between_numbers_are_noted(write: Write) -> None:
    dataset = _loaded(write, ("5", "0", "2", "10"))
    assert dataset.labels == ("0", "2", "5", "10")
    assert dataset.notes == (
        "reviews.csv: the labels 0, 2, 5 and 10 are not consecutive; they become the classes 0 to 3.",
    )


@pytest.mark.parametrize("variant", ["Positive", " positive", "POSITIVE ", "ｐositive"])
def test_labels_that_differ_only_by_case_or_spaces_are_refused(write: Write, refused: Refused, variant: str) -> None:
    write("reviews.csv", table([*pairs(20), ("odd", variant)]))
    message = refused("reviews.csv")
    assert f"{variant!r} (reviews.csv, line 22, column 'label')" in message
    assert message.endswith("differ only by case or spaces; write one of them, or map both in data.label_names")


def test_spaces_around_all_labels_are_no_part_of_the_names(write: Write) -> None:
    assert _loaded(write, (" positive", " negative")).labels == ("negative", "positive")


def test_single_class_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20, ("positive",))))
    assert refused("reviews.csv") == (
        "reviews.csv, column 'label': every row has the label 'positive'; a classifier needs at least two classes"
    )


def test_class_with_too_few_examples_for_the_splits_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("odd", "rare")]))
    assert refused("reviews.csv") == (
        "reviews.csv: the class 'rare' has only 1 different text, but each of the 4 splits cut from the train file "
        "(test, calibrate, select and train) needs one; add examples or remove the class"
    )


def test_repeated_texts_do_not_make_a_class_large_enough(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), *[("odd", "rare")] * 6]))
    assert "the class 'rare' has only 1 different text" in refused("reviews.csv")


def test_class_that_only_the_test_file_has_is_refused_with_its_rows(write: Write, refused: Refused) -> None:
    write("train.csv", table(pairs(20)))
    write("test.csv", table([*pairs(6, start=100), ("odd", "neutral")]))
    assert refused("train.csv", test="test.csv") == (
        "test.csv, line 8, column 'label': the class 'neutral' does not occur in train.csv, so nothing can learn it; "
        "add examples there or remove these rows"
    )


def test_select_file_that_lacks_a_class_is_refused(write: Write, refused: Refused) -> None:
    write("train.csv", table(pairs(20)))
    write("select.csv", table(pairs(6, ("positive",), start=100)))
    assert refused("train.csv", select="select.csv") == (
        "select.csv: holds no row of the class 'negative'; add some, or leave data.select out"
    )


def test_too_many_different_labels_are_refused(write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelchecks, "MAX_CLASSES", 3)
    write("reviews.csv", table(pairs(20, ("a", "b", "c", "d"))))
    assert refused("reviews.csv") == (
        "reviews.csv, column 'label': holds 4 different labels, over the limit of 3; name the column of the classes in "
        "data.label"
    )


def test_numbers_are_ordered_as_numbers_and_words_as_words(write: Write) -> None:
    assert _loaded(write, ("10", "9", "1")).labels == ("1", "9", "10")
    assert _loaded(write, ("spam", "ham")).labels == ("ham", "spam")
    assert _loaded(write, ("positive", "neutral", "negative")).labels == ("negative", "neutral", "positive")


def test_each_row_keeps_its_class(write: Write) -> None:
    dataset = _loaded(write, ("spam", "ham", "eggs"))
    for split in dataset.splits.values():
        for text, code in zip(split.texts, split.labels, strict=True):
            assert dataset.labels[code] == ("spam", "ham", "eggs")[int(text.split()[-1]) % 3]


def test_labels_are_renamed_and_keep_the_order_of_their_numbers(write: Write) -> None:
    assert _loaded(write, ("1.0", "0.0"), **{"0": "positive", "1": "negative"}).labels == ("positive", "negative")


def test_labels_with_one_name_become_one_class_and_are_noted(write: Write) -> None:
    stars = {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}
    dataset = _loaded(write, tuple(stars), **stars)
    assert dataset.labels == ("negative", "positive")
    assert sum((Counter(split.labels.tolist()) for split in dataset.splits.values()), Counter()) == {0: 30, 1: 30}
    assert dataset.notes == (
        "reviews.csv: the labels '1' and '2' are one class, 'negative'.",
        "reviews.csv: the labels '4' and '5' are one class, 'positive'.",
    )


def test_label_names_must_fit_the_labels_that_are_there(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20, ("pos", "neg"))))
    assert refused("reviews.csv", label_names={"pos": "positive", "negg": "negative"}) == (
        "reviews.csv, lines 3, 5, 7, 9, 11 and 5 more, column 'label': the label 'neg' has no name in "
        "data.label_names, which names 'pos' and 'negg'\n"
        "data.label_names: no row has the label 'negg'; did you mean 'neg'?; the labels are 'neg' and 'pos'"
    )


def test_blank_class_name_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^data\.label_names: the name of 'pos' is blank; name it$"):
        _loaded(write, ("pos", "neg"), pos=" ", neg="negative")


def test_label_that_reads_like_a_missing_value_is_kept_and_noted(write: Write) -> None:
    dataset = _loaded(write, ("positive", "negative", "NA"))
    assert dataset.labels == ("NA", "negative", "positive")
    assert dataset.notes == ("reviews.csv: the label 'NA' is kept as a class; it does not count as a missing value.",)
