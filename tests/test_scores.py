import math
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pipelines.predictions import Predictions, softmax
from pipelines.scores import METRICS, calibration, confusion, metric_key, score


def made(labels, probabilities, names=None):
    rows, classes = np.shape(probabilities)
    return Predictions(
        ids=[str(row) for row in range(rows)],
        texts=["text"] * rows,
        labels=np.array(labels, dtype=np.int64),
        probabilities=np.array(probabilities, dtype=np.float64),
        names=names or tuple("abcdefghij"[:classes]),
    )


def drawn(classes, rows, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    # Rounded, so that there are ties.
    logits = np.round(rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels], 1)
    return made(labels, softmax(logits))


BINARY, FOUR = drawn(2, 80), drawn(4, 120)


def test_small_case_is_what_a_pencil_gives():
    scores = score(made([0, 0, 1, 1], [[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9]]))
    assert scores == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced_accuracy": (1 / 2 + 1) / 2,
            "macro_f1": (2 / 3 + 4 / 5) / 2,
            "mcc": (2 * 1 - 1 * 0) / math.sqrt(3 * 2 * 2 * 1),
            "log_loss": -math.log(0.8 * 0.4 * 0.7 * 0.9) / 4,
            "brier": 2 * (0.04 + 0.36 + 0.09 + 0.01) / 4,
            "ece": (0.2 + 0.6 + 0.3 + 0.1) / 4,
            "auroc": 1.0,
            "average_precision": 1.0,
            "precision.a": 1.0,
            "precision.b": 2 / 3,
            "recall.a": 1 / 2,
            "recall.b": 1.0,
            "f1.a": 2 / 3,
            "f1.b": 4 / 5,
            "support.a": 2,
            "support.b": 2,
        }
    )


@pytest.mark.parametrize("predictions", [BINARY, FOUR], ids=["binary", "four classes"])
class TestAgainstTheDefinition:
    def test_log_loss_and_brier(self, predictions):
        logs, squares = 0.0, 0.0
        for label, row in zip(predictions.labels, predictions.probabilities, strict=True):
            logs -= math.log(row[label])
            squares += sum((share - (index == label)) ** 2 for index, share in enumerate(row))
        scores = score(predictions)
        assert scores["log_loss"] == pytest.approx(logs / len(predictions.labels))
        assert scores["brier"] == pytest.approx(squares / len(predictions.labels))

    def test_mcc_is_the_correlation_of_the_one_hot_tables(self, predictions):
        classes = len(predictions.names)
        truth, guess = np.eye(classes)[predictions.labels], np.eye(classes)[predictions.predicted]

        def covariance(x, y):
            return ((x - x.mean(axis=0)) * (y - y.mean(axis=0))).sum()

        expected = covariance(truth, guess) / math.sqrt(covariance(truth, truth) * covariance(guess, guess))
        assert score(predictions)["mcc"] == pytest.approx(expected)

    def test_auroc_is_the_share_of_pairs_ranked_right(self, predictions):
        areas = []
        for index in [1] if len(predictions.names) == 2 else range(len(predictions.names)):
            values, positive = predictions.probabilities[:, index], predictions.labels == index
            gaps = values[positive][:, None] - values[~positive][None, :]
            areas.append(((gaps > 0) + 0.5 * (gaps == 0)).mean())
        assert score(predictions)["auroc"] == pytest.approx(np.mean(areas))

    def test_average_precision_sums_precision_over_recall_steps(self, predictions):
        areas = []
        for index in [1] if len(predictions.names) == 2 else range(len(predictions.names)):
            values, positive = predictions.probabilities[:, index], predictions.labels == index
            area, before = 0.0, 0.0
            for threshold in sorted(set(values), reverse=True):
                chosen = values >= threshold
                recall = (chosen & positive).sum() / positive.sum()
                area += (recall - before) * (chosen & positive).sum() / chosen.sum()
                before = recall
            areas.append(area)
        assert score(predictions)["average_precision"] == pytest.approx(np.mean(areas))

    def test_ece_walks_over_fifteen_bins(self, predictions):
        total, rows = 0.0, len(predictions.labels)
        for number in range(15):
            inside = [
                (float(confidence), bool(correct))
                for confidence, correct in zip(predictions.confidence, predictions.correct, strict=True)
                if number / 15 < confidence <= (number + 1) / 15
            ]
            total += abs(sum(correct for _, correct in inside) - sum(confidence for confidence, _ in inside))
        assert score(predictions)["ece"] == pytest.approx(total / rows)

    def test_scores_by_class_and_their_means(self, predictions):
        pairs = Counter(zip(predictions.labels.tolist(), predictions.predicted.tolist(), strict=True))
        classes, scores = range(len(predictions.names)), score(predictions)
        recalls, f1s = [], []
        for index, name in enumerate(predictions.names):
            hits = pairs[index, index]
            guessed, support = (sum(pairs[pair] for pair in among) for among in (
                [(other, index) for other in classes], [(index, other) for other in classes]
            ))  # fmt: skip
            precision, recall = hits / guessed, hits / support
            recalls.append(recall)
            f1s.append(2 * precision * recall / (precision + recall))
            assert scores[f"precision.{name}"] == pytest.approx(precision)
            assert scores[f"recall.{name}"] == pytest.approx(recall)
            assert scores[f"f1.{name}"] == pytest.approx(f1s[-1])
            assert scores[f"support.{name}"] == support
        assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        assert scores["macro_f1"] == pytest.approx(np.mean(f1s))
        assert confusion(predictions).tolist() == [[pairs[row, column] for column in classes] for row in classes]


def test_class_without_rows_leaves_its_recall_out_and_the_means_untouched():
    scores = score(made([0, 0, 1, 1], [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]))
    assert "recall.c" not in scores
    assert "f1.c" not in scores
    assert "precision.c" not in scores
    assert scores["support.c"] == 0
    assert scores["balanced_accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    # Class a is ranked right in 3.5 of 4 pairs, class b in 3.5 of 4.
    assert scores["auroc"] == pytest.approx(0.875)


def test_class_never_predicted_has_recall_zero_but_no_precision():
    scores = score(made([0, 1], [[0.9, 0.1], [0.8, 0.2]]))
    assert (scores["recall.b"], scores["f1.b"]) == (0, 0)
    assert "precision.b" not in scores
    assert scores["mcc"] == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_one_row_has_the_scores_that_need_no_second_class(classes):
    probabilities = np.full((1, classes), 0.5 / (classes - 1))
    probabilities[0, 0] = 0.5
    scores = score(made([0], probabilities))
    assert set(METRICS) - set(scores) == {"mcc", "auroc", "average_precision"}
    assert scores["log_loss"] == pytest.approx(math.log(2))
    assert scores["ece"] == pytest.approx(0.5)


def test_probability_of_exactly_zero_gives_a_large_finite_log_loss():
    scores = score(made([1, 1, 1], [[1, 0, 0]] * 3))
    assert scores["log_loss"] == pytest.approx(-math.log(2.0**-52))
    assert scores["brier"] == 2


def test_probabilities_in_single_precision_are_scored_without_a_warning():
    shares = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], dtype=np.float32) * np.float32(1.0001)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(made([2, 0], shares))["log_loss"] == pytest.approx(-math.log(0.7 * 0.3) / 2, abs=1e-6)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="there are no rows to score"):
        score(made([], np.zeros((0, 2))))


@st.composite
def small_predictions(draw):
    classes, rows = draw(st.integers(2, 4)), draw(st.integers(1, 12))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    logits = draw(st.lists(st.integers(-20, 20), min_size=rows * classes, max_size=rows * classes))
    return made(labels, softmax(np.array(logits).reshape(rows, classes)))


@settings(max_examples=60, deadline=None)
@given(predictions=small_predictions(), seed=st.integers(0, 99))
def test_order_of_the_rows_does_not_matter_and_no_score_is_nan_or_a_warning(predictions, seed):
    order = np.random.default_rng(seed).permutation(len(predictions.labels))
    shuffled = made(predictions.labels[order], predictions.probabilities[order])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(predictions)
    assert score(shuffled) == pytest.approx(scores, abs=1e-12)
    assert all(math.isfinite(value) for value in scores.values())
    assert all(type(value) is float for value in scores.values())
    assert {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "ece"} <= set(scores)


def test_better_predictions_move_every_metric_in_its_direction():
    worse, better = score(drawn(4, 120)), score(made(FOUR.labels, 0.9 * np.eye(4)[FOUR.labels] + 0.025))
    for name, metric in METRICS.items():
        assert metric.name == name
        assert (better[name] > worse[name]) == (metric.direction == "maximize"), name


def test_bin_edge_belongs_to_the_bin_below():
    bins = calibration(made([0, 0], [[0.5, 0.5], [0.75, 0.25]]), bins=4)
    assert bins.counts.tolist() == [0, 1, 1, 0]
    assert bins.error == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize("name", ["good", "not so good", "a_b-c.d", "zażółć", "负面"])
def test_names_that_mlflow_accepts_stay_as_they_are(name):
    assert metric_key(name) == name


@pytest.mark.parametrize("name", ["😀", "😡", "a/b", "../x", "", " ", ".", "a|b", "a:b", "<b>", "a\n", "x" * 500, "a "])
def test_other_names_become_safe_and_stay_apart(name):
    assert metric_key(name) != name
    assert metric_key(name) not in {metric_key(name + "!"), metric_key("!" + name)}


@given(st.text(st.characters(codec="utf-8"), max_size=150))
def test_every_key_is_valid_for_mlflow(name):
    for key in (metric_key(name), f"precision.{metric_key(name)}"):
        _validate_metric_name(key)
        assert len(key) <= 250


def test_emoji_classes_keep_separate_scores():
    scores = score(made([0, 0, 1], [[1, 0], [1, 0], [0, 1]], names=("😀", "😡")))
    assert sorted(value for key, value in scores.items() if key.startswith("support.")) == [1, 2]
