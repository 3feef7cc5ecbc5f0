import csv
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import SPLIT_NAMES, DataConfig
from pipelines.data import Dataset, load_data
from pipelines.data.content import check_rows
from pipelines.data.sources import read_source
from pipelines.data.values import Column
from pipelines.errors import DataError

# Any character of any script; half surrogates are no characters and NUL is refused.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
SPECIAL = st.sampled_from(
    ["NA", "null", "007", "1.0", '"', '""', ",", "a\nb", "a\r\nb", "\r", "🙂", "שלום", "=1+1", "\\"]
)
TEXTS = st.lists(st.one_of(st.text(CHARACTERS, min_size=1), SPECIAL), min_size=1, max_size=20)


def _written(directory: str, rows: list[tuple[str, str]]) -> str:
    path = Path(directory) / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def _content(dataset: Dataset) -> list[object]:
    splits = [dataset.splits[name] for name in SPLIT_NAMES]
    return [dataset.digest, dataset.labels, [(list(split.texts), split.labels.tolist()) for split in splits]]


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_written_texts_read_back_identically(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        table = read_source(DataConfig(source=_written(directory, [(text, text) for text in texts]))).tables["train"]
    assert list(Column(table.texts)) == texts
    assert list(Column(table.labels)) == texts


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_text_is_blank_exactly_when_nothing_of_it_can_be_seen(texts: list[str]) -> None:
    import unicodedata

    hidden = {"Zs", "Zl", "Zp", "Cc", "Cf"}
    blank = [row for row, text in enumerate(texts) if all(unicodedata.category(char) in hidden for char in text)]
    with tempfile.TemporaryDirectory() as directory:
        config = DataConfig(source=_written(directory, [(text, "a") for text in texts]))
        table = read_source(config).tables["train"]
    if blank:
        with pytest.raises(DataError, match=r"column 'text': is blank"):
            check_rows(table, config)
    else:
        assert check_rows(table, config) is table


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_permuting_rows_changes_neither_splits_nor_digest(data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(["good", "Good", "bad", "film", "  film", "🙂"]), min_size=1, max_size=6)
    labels = st.sampled_from(["positive", "negative"])
    drawn = data.draw(st.lists(st.tuples(words.map(" ".join), labels), max_size=30))
    rows = [(f"{label} {row}", label) for row in range(6) for label in ("positive", "negative")] + drawn
    shuffled = data.draw(st.randoms(use_true_random=False)).sample(rows, len(rows))
    with tempfile.TemporaryDirectory() as directory:
        first = load_data(DataConfig(source=_written(directory, rows)))
        second = load_data(DataConfig(source=_written(directory, shuffled)))
    assert _content(first) == _content(second)


@given(st.integers(0, 2**32), st.integers(20, 200))
@settings(max_examples=25, deadline=None)
def test_no_text_stands_in_two_splits(seed: int, count: int) -> None:
    generator = random.Random(seed)
    texts = [f"text {generator.randrange(count)}" for _ in range(count)] + [f"only {row}" for row in range(8)]
    rows = [(text, generator.choice(("a", "b"))) for text in texts]
    rows += [(f"sure {label} {row}", label) for row in range(4) for label in ("a", "b")]
    with tempfile.TemporaryDirectory() as directory:
        dataset = load_data(DataConfig(source=_written(directory, rows), split_seed=seed % 7))
    homes = [set(split.texts) for split in dataset.splits.values()]
    assert sum(map(len, homes)) == len(set.union(*homes))
