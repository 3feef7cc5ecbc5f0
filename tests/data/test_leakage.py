"""What is said of near duplicates across the splits of a data set."""

import random
import re
import time
from pathlib import Path

import pytest

from pipelines.config import DataConfig, Fractions
from pipelines.data import Dataset, find_leakage, leakage, load_data

from .rows import Write, table
from .test_near import sentences

CONFIG = DataConfig(
    source="train.csv",
    test="test.csv",
    fractions=Fractions(select=0.001, calibrate=0.0, test=0.0),  # one row of each class to select by
)


def _rows(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    return [(text, ("dull", "keen")[row % 2]) for row, text in enumerate(sentences(count, seed=seed))]


@pytest.fixture
def planted(write: Write) -> Dataset:
    """Of 40 test rows, four nearly repeat rows of train; one row of train, and one of test, repeat one of their own."""
    train, test = _rows(60), _rows(40, seed=1)
    train[7] = ("One of the finest comedies in a very long time", "keen")
    train[8] = ("A tired and hollow story without any charm at all", "dull")
    train[9] = ("It moves slowly but leaves a warm and tender glow", "keen")
    train += [("It moves slowly but leaves a warm and tender  glow!", "keen")]
    test[3] = ("one of the finest comedies in a very long time.", "keen")
    test[4] = ("One of the finest comedies in a very very long time", "keen")
    test[5] = ("A tired and hollow story without any chram at all", "dull")
    test[30] = ("It moves slowly but leaves a very warm and tender glow", "keen")
    test[11] = ("Nobody who was there would want to see it again", "dull")
    test[12] = ("Nobody who was there would want to see it again!", "dull")
    write("train.csv", table(train))
    write("test.csv", table(test))
    return load_data(CONFIG)


def test_near_duplicates_are_counted_and_shown_side_by_side(planted: Dataset, tmp_path: Path) -> None:
    notes, examples = find_leakage(planted, tmp_path / "leakage")
    assert notes == (
        "near duplicates: 4 of 40 rows of test nearly repeat a row of another split, so scores on them flatter a "
        "model; delete such rows, or keep them together by data.group.",
        "near duplicates: 1 of 59 rows of train nearly repeat another row of train.",
    )
    assert examples[0] == (
        "near duplicates, for instance (100% alike): train.csv:9 (train) 'One of the finest comedies in a very long "
        "time' and test.csv:5 (test) 'one of the finest comedies in a very long time.'."
    )
    assert [re.findall(r"test\.csv:\d+", example) for example in examples] == [
        ["test.csv:5"],
        ["test.csv:32"],
        ["test.csv:7"],
    ]


def test_data_without_near_duplicates_are_passed_in_silence(write: Write, tmp_path: Path) -> None:
    write("reviews.csv", table(_rows(200)))
    assert find_leakage(load_data(DataConfig(source="reviews.csv")), tmp_path) == ((), ())


def test_equal_texts_are_left_to_the_notes_on_them(write: Write, tmp_path: Path) -> None:
    rows = _rows(60)
    write("train.csv", table([*rows, (rows[3][0].upper(), rows[3][1])]))
    write("test.csv", table([*_rows(20, seed=1), *rows[:5]]))
    dataset = load_data(DataConfig(source="train.csv", test="test.csv", allow_overlap=True))
    assert find_leakage(dataset, tmp_path) == ((), ())


def test_second_look_at_the_same_content_compares_nothing(
    planted: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_leakage(planted, tmp_path / "leakage")
    monkeypatch.setattr(leakage, "near_duplicates", lambda texts: pytest.fail("compared again"))
    assert find_leakage(planted, tmp_path / "leakage") == found


def test_other_data_in_the_same_cache_are_compared_anew(planted: Dataset, write: Write, tmp_path: Path) -> None:
    find_leakage(planted, tmp_path / "leakage")
    write("reviews.csv", table(_rows(200)))
    assert find_leakage(load_data(DataConfig(source="reviews.csv")), tmp_path / "leakage") == ((), ())


def test_rows_are_named_as_they_stand_in_the_file_at_hand(planted: Dataset, write: Write, tmp_path: Path) -> None:
    find_leakage(planted, tmp_path / "leakage")
    header, *rows = (tmp_path / "test.csv").read_text().splitlines()
    write("test.csv", "\n".join([header, *reversed(rows)]) + "\n")
    turned = load_data(CONFIG)
    assert turned.digest == planted.digest
    assert "test.csv:38 (test)" in find_leakage(turned, tmp_path / "leakage").examples[0]


def test_damaged_cache_is_made_again(planted: Dataset, tmp_path: Path) -> None:
    found = find_leakage(planted, tmp_path / "leakage")
    (file,) = (tmp_path / "leakage").glob("*.json")
    file.write_text(file.read_text()[:40])
    assert find_leakage(planted, tmp_path / "leakage") == found


def test_looking_changes_neither_rows_nor_digest(planted: Dataset, tmp_path: Path) -> None:
    before = {name: list(split.texts) for name, split in planted.splits.items()}
    find_leakage(planted, tmp_path / "leakage")
    assert {name: list(split.texts) for name, split in planted.splits.items()} == before
    assert load_data(CONFIG).digest == planted.digest


@pytest.mark.parametrize(("bound", "value"), [("MAX_ROWS", 100), ("MAX_SIZE", 5900)])
def test_large_data_are_sampled_and_told_so(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    write("reviews.csv", table(_rows(1000)))
    dataset = load_data(DataConfig(source="reviews.csv"))
    monkeypatch.setattr(leakage, bound, value)
    (note,) = find_leakage(dataset, tmp_path).notes
    looked = int(note.removeprefix("near duplicates: only a sample of ").split()[0])
    assert 90 <= looked <= 104
    assert note.endswith(f"of {looked} of 1,000 rows was compared; none was found, but there may be some.")


def test_note_about_a_sample_stands_beside_what_was_found(
    planted: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leakage, "MAX_ROWS", 90)
    notes = find_leakage(planted, tmp_path / "leakage").notes
    assert notes[-1].endswith("of 101 rows was compared; there may be more.")
    assert len(notes) > 1


def test_ten_thousand_sentences_are_compared_within_ten_seconds(tmp_path: Path, write: Write) -> None:
    draw = random.Random(0)
    rows = _rows(10_000)
    for row in range(0, 200, 2):
        rows[row + 1] = (f"{rows[row][0]}{draw.choice('!?.')}", rows[row][1])
    write("reviews.csv", table(rows))
    dataset = load_data(DataConfig(source="reviews.csv"))
    began = time.process_time()
    notes, examples = find_leakage(dataset, tmp_path / "leakage")
    assert time.process_time() - began < 10
    assert "of 2,000 rows of test" in notes[0]
    assert len(examples) == 3
