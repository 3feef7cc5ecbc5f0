import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.predictions import (
    NonFiniteError,
    Predictions,
    most_confident_mistakes,
    read_parquet,
    softmax,
    write_parquet,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def made(labels, probabilities, names=("bad", "good")):
    rows = len(labels)
    return Predictions(
        ids=[f"row-{row}" for row in range(rows)],
        texts=[f"text {row}" for row in range(rows)],
        labels=np.array(labels, dtype=np.int64),
        probabilities=np.array(probabilities, dtype=np.float64).reshape(rows, len(names)),
        names=names,
    )


@st.composite
def any_predictions(draw):
    names = tuple(draw(st.lists(TEXT, min_size=2, max_size=5, unique=True)))
    rows = draw(st.integers(0, 8))
    logits = draw(st.lists(st.floats(-30, 30), min_size=rows * len(names), max_size=rows * len(names)))
    return Predictions(
        ids=draw(st.lists(TEXT, min_size=rows, max_size=rows)),
        texts=draw(st.lists(TEXT, min_size=rows, max_size=rows)),
        labels=np.array(draw(st.lists(st.integers(0, len(names) - 1), min_size=rows, max_size=rows)), dtype=np.int64),
        probabilities=softmax(np.array(logits).reshape(rows, len(names))),
        names=names,
    )


def test_softmax_equals_the_definition():
    logits = [[0.5, -1.0, 2.0], [3.0, 3.0, 3.0]]
    expected = [[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in logits]
    assert softmax(np.array(logits, dtype=np.float32)) == pytest.approx(np.array(expected), rel=1e-12)
    assert softmax(logits).dtype == np.float64


def test_softmax_of_huge_logits_does_not_overflow():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        shares = softmax(np.array([[1e4, 0.0], [-1e4, -1e4]]))
    assert shares.tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_diverged_logits_are_refused_with_the_number_of_rows(bad):
    probabilities = softmax(np.array([[bad, 0.0], [1.0, 2.0], [0.0, bad]]))
    with pytest.raises(NonFiniteError) as error:
        made([0, 1, 0], probabilities)
    assert str(error.value) == "2 of 3 rows have probabilities that are NaN or infinite"


def test_predicted_confidence_and_correct_follow_from_the_probabilities():
    predictions = made([0, 1, 0], [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    assert predictions.predicted.tolist() == [0, 0, 0]
    assert predictions.predicted.dtype == np.int64
    assert predictions.confidence.tolist() == [0.9, 0.6, 0.5]
    assert predictions.correct.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("labels", "probabilities", "names", "message"),
    [
        ([0], [[1.5, -0.5]], ("a", "b"), "1 of 1 rows are no probabilities: negative, or their sum is not 1"),
        ([0, 1], [[0.5, 0.4], [0, 1]], ("a", "b"), "1 of 2 rows are no probabilities: negative, or their sum is not 1"),
        ([2], [[0.5, 0.5]], ("a", "b"), "labels must lie in 0 to 1, not in 2 to 2"),
        ([-1], [[0.5, 0.5]], ("a", "b"), "labels must lie in 0 to 1, not in -1 to -1"),
        ([0], [[0.5, 0.5]], ("a", "a"), "two or more different class names are needed, not ('a', 'a')"),
        ([0], [[1.0]], ("a",), "two or more different class names are needed, not ('a',)"),
    ],
)
def test_parts_that_cannot_be_true_are_refused(labels, probabilities, names, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        made(labels, probabilities, names)
    assert str(error.value) == message


def test_parts_of_different_length_are_refused():
    with pytest.raises(ValueError, match="do not fit 2 class names"):
        Predictions(["1", "2"], ["a"], np.array([0]), np.array([[0.5, 0.5]]), ("a", "b"))


def test_labels_that_are_not_integers_are_refused():
    with pytest.raises(ValueError, match="labels must be integers, not float64"):
        Predictions(["1"], ["a"], np.array([0.0]), np.array([[0.5, 0.5]]), ("a", "b"))


@settings(max_examples=60, deadline=None)
@given(predictions=any_predictions())
def test_parquet_gives_back_exactly_what_was_written(predictions, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    write_parquet(predictions, path)
    again = read_parquet(path)
    assert list(again.ids) == list(predictions.ids)
    assert list(again.texts) == list(predictions.texts)
    assert again.names == predictions.names
    assert again.labels.dtype == predictions.labels.dtype
    assert again.labels.tolist() == predictions.labels.tolist()
    assert again.probabilities.dtype == np.float64
    assert again.probabilities.tobytes() == np.ascontiguousarray(predictions.probabilities).tobytes()


def test_parquet_is_readable_for_people(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_parquet(made([1, 1], [[0.75, 0.25], [0.1, 0.9]]), path)
    assert pq.read_table(path).to_pylist() == [
        {"id": "row-0", "text": "text 0", "label": "good", "predicted": "bad", "confidence": 0.75}
        | {"p_bad": 0.75, "p_good": 0.25},
        {"id": "row-1", "text": "text 1", "label": "good", "predicted": "good", "confidence": 0.9}
        | {"p_bad": 0.1, "p_good": 0.9},
    ]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "predictions.parquet"
    write_parquet(made([0], [[0.75, 0.25]]), path)
    before = path.read_bytes()

    def full_disk(table, file, **options):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_parquet(made([1], [[0.75, 0.25]]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_parquet_of_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError) as error:
        read_parquet(path)
    expected = f"{path} holds no predictions: its schema names no classes; give a predictions.parquet of hpo"
    assert str(error.value) == expected


def test_mistakes_come_surest_first_and_only_mistakes():
    predictions = made([0, 0, 1, 1, 0], [[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [1.0, 0.0]])
    mistakes = most_confident_mistakes(predictions)
    assert [mistake["id"] for mistake in mistakes] == ["row-1", "row-3", "row-0"]
    assert mistakes[1] == {
        "id": "row-3", "text": "text 3", "label": "good", "predicted": "bad", "confidence": 0.9
    }  # fmt: skip
    assert most_confident_mistakes(predictions, count=1) == mistakes[:1]
    assert json.loads(json.dumps(mistakes)) == mistakes


def test_perfect_predictions_have_no_mistakes():
    assert most_confident_mistakes(made([0, 1], [[1, 0], [0, 1]])) == []
