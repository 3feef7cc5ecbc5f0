"""The baselines: what they answer, and that they are kept like a trial's predictions."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.baseline import BASELINES, train_baseline
from pipelines.config import DataConfig
from pipelines.data import load_data, save_dataset
from pipelines.files import read_json
from pipelines.predictions import read_parquet
from pipelines.segment import BaselineJob, Unwatched


def data(tmp_path: Path, rows: list[tuple[str, str]]) -> Path:
    (tmp_path / "my.csv").write_text("text,label\n" + "\n".join(f"{text},{label}" for text, label in rows))
    save_dataset(load_data(DataConfig(source=str(tmp_path / "my.csv"))), tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three classes: two thirds of the films are dull, and a word gives each class away."""
    words = ["dull", "dull", "dull", "dull", "bright", "odd"]
    return data(tmp_path, [(f"a {words[n % 6]} film {n}", words[n % 6]) for n in range(600)])


def job(films: Path, name: str) -> BaselineJob:
    return BaselineJob(name, films, films.parent / f"baseline-{name}")


def test_the_majority_baseline_answers_with_the_most_frequent_class(films: Path) -> None:
    result = train_baseline(job(films, "majority"), watch=Unwatched())
    assert result.finished
    assert result.scores["accuracy"] == pytest.approx(2 / 3, abs=0.01)
    found = read_parquet(films.parent / "baseline-majority" / "artifacts" / "predictions.parquet")
    assert {found.names[index] for index in found.predicted} == {"dull"}
    assert found.probabilities[0, found.names.index("odd")] == pytest.approx(1 / 6, abs=0.01)


def test_the_words_baseline_learns_the_words(films: Path) -> None:
    assert train_baseline(job(films, "tfidf"), watch=Unwatched()).scores["accuracy"] == 1.0


def test_a_class_without_training_rows_gets_no_probability() -> None:
    from pipelines.data import Dataset, Split

    train = Split(["dull", "bright"] * 5, np.array([0, 1] * 5), [str(n) for n in range(10)])
    select = Split(["dull", "odd"], np.array([0, 2]), ["10", "11"])
    dataset = Dataset("toy", "toy", ("dull", "bright", "odd"), {"train": train, "select": select}, "digest", ())
    for baseline in BASELINES.values():
        found = baseline(dataset, select.texts)
        assert found[:, 2].tolist() == [0.0, 0.0]
        assert found.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_texts_without_a_word_do_not_stop_it(tmp_path: Path) -> None:
    films = data(
        tmp_path, [(("!" if n % 2 else "?") * (1 + n % 7), f"{n % 2}") for n in range(200)] + [("🙂", "1")] * 20
    )
    assert train_baseline(job(films, "tfidf"), watch=Unwatched()).scores["accuracy"] > 0.9


def test_what_is_done_is_not_done_again(films: Path) -> None:
    first = train_baseline(job(films, "majority"), watch=Unwatched())
    written = (films.parent / "baseline-majority" / "result.json").stat().st_mtime_ns
    assert train_baseline(job(films, "majority"), watch=Unwatched()) == first
    assert (films.parent / "baseline-majority" / "result.json").stat().st_mtime_ns == written
    assert read_json(films.parent / "baseline-majority" / "artifacts" / "mistakes.json")["columns"]
