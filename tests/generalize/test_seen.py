"""Rows that a model has seen before are found, exactly and nearly, before it is judged on them."""

from pathlib import Path

import numpy as np

from pipelines.data import Dataset, Split, text_hashes
from pipelines.generalize.seen import Home, Seen, find_seen
from tests.court import a_dataset

TEXTS = [
    "a film that nobody in this town will ever want to see again",
    "the best hour that I have spent in a cinema since the spring",
    "some quiet music, and then the curtain falls without a word",
]


def rows(texts: list[str]) -> Split:
    return Split(texts, np.zeros(len(texts), np.int64), [f"d.csv:{row}" for row in range(len(texts))])


def home(**splits: list[str]) -> Dataset:
    return a_dataset(**splits)


def found(texts: list[str], own: Home, cache: Path) -> Seen:
    return find_seen(rows(texts), f"digest of {texts}", own, cache=cache)


def test_equal_and_nearly_equal_texts_are_told_apart_with_examples(tmp_path: Path) -> None:
    own = Home(home(train=[TEXTS[0], TEXTS[1]]), None)
    seen = found([TEXTS[0].upper(), f"{TEXTS[1]}!", TEXTS[2]], own, tmp_path)
    assert seen.exact.tolist() == [True, False, False]
    assert seen.near.tolist() == [False, True, False]
    near, exact = seen.examples
    assert (near["id"], near["like"], near["of"]) == ("d.csv:1", TEXTS[1], "train:1 (train)")
    assert (exact["id"], exact["similarity"]) == ("d.csv:0", 1.0)
    assert seen.in_words() == (
        "2 of 3 rows repeat a row that training, choice or calibration saw (1 of them nearly); on these the model is "
        "judged too kindly"
    )


def test_a_row_that_equals_one_and_nearly_another_counts_once_as_equal(tmp_path: Path) -> None:
    own = Home(home(train=[TEXTS[0], f"{TEXTS[0]} now"]), None)
    seen = found([TEXTS[0]], own, tmp_path)
    assert (seen.exact.tolist(), seen.near.tolist()) == ([True], [False])


def test_rows_of_the_choice_and_the_calibration_count_as_seen_and_test_rows_do_not(tmp_path: Path) -> None:
    own = Home(home(select=[TEXTS[0]], calibrate=[TEXTS[1]], test=[TEXTS[2]]), None)
    assert found(TEXTS, own, tmp_path).rows.tolist() == [True, True, False]


def test_without_the_studys_data_the_hashes_of_its_version_tell_the_equal_ones(tmp_path: Path) -> None:
    hashes = text_hashes(rows(TEXTS[:1]))
    seen = found([TEXTS[0], f"{TEXTS[0]}!"], Home(None, hashes), tmp_path)
    assert seen.rows.tolist() == [True, False]
    assert "near duplicates: not looked for" in seen.in_words()
    assert "neither the study's data nor hashes" in found(TEXTS, Home(None, None), tmp_path).in_words()


def test_what_was_found_is_kept_and_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    own = Home(home(train=[TEXTS[1]]), None)
    texts = [f"{TEXTS[1]}!"]
    assert found(texts, own, tmp_path).near.tolist() == [True]
    (file,) = tmp_path.glob("*.json")
    file.write_text("{")
    assert found(texts, own, tmp_path).near.tolist() == [True]
