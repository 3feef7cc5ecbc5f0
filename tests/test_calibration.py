"""Calibration on made-up predictions whose true temperature and best thresholds are known."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import calibration
from pipelines.calibration import MIN_ROWS, calibrate, facts_from, fit_temperature, fit_thresholds, tempered
from pipelines.predictions import Predictions, softmax
from pipelines.scores import confusion, score

RARE = (0.9, 0.05, 0.05)


def drawn(rows: int, *, heat: float = 1.0, shares: tuple[float, ...] = (0.5, 0.5), seed: int = 0) -> Predictions:
    """Rows whose labels are drawn from the probabilities, which are then shown `heat` times too sure."""
    draw, classes = np.random.default_rng(seed), len(shares)
    logits = draw.normal(0.0, 1.5, (rows, classes)) + np.log(shares)
    labels = np.array([draw.choice(classes, p=row) for row in softmax(logits)], dtype=np.int64)
    return made(labels, softmax(logits * heat))


def made(labels: Any, probabilities: Any, **changes: Any) -> Predictions:
    texts = [str(row) for row in range(len(labels))]
    names = tuple("abcdef"[: np.shape(probabilities)[1]])
    return Predictions(texts, texts, np.asarray(labels, np.int64), np.asarray(probabilities, float), names, **changes)


@pytest.mark.parametrize("heat", [0.5, 2.0, 3.0])
def test_a_known_temperature_is_found(heat: float) -> None:
    predictions = drawn(4000, heat=heat)
    assert fit_temperature(predictions.labels, predictions.probabilities) == pytest.approx(heat, rel=0.1)


def test_the_temperature_is_where_the_log_loss_is_least() -> None:
    predictions = drawn(300, heat=2.0, shares=(0.2, 0.3, 0.5))
    heat = fit_temperature(predictions.labels, predictions.probabilities)
    losses = {
        one: score(replace(predictions, probabilities=tempered(predictions.probabilities, one)))["log_loss"]
        for one in (heat, heat * 1.02, heat / 1.02, 1.0)
    }
    assert min(losses, key=lambda one: losses[one]) == heat


def test_tempered_probabilities_are_those_of_divided_logits() -> None:
    logits = np.random.default_rng(1).normal(0, 20, (50, 3))
    assert tempered(softmax(logits), 2.5) == pytest.approx(softmax(logits / 2.5), abs=1e-12)
    assert tempered(np.array([[1.0, 0.0]]), 1.5).tolist() == [[1.0, pytest.approx(0.0)]]


def test_an_overconfident_model_is_calibrated_and_its_answers_stay() -> None:
    predictions = drawn(1000, heat=3.0)
    facts = calibrate(predictions)
    assert facts.temperature == pytest.approx(3.0, rel=0.2)
    assert facts.thresholds is None
    assert facts.notes == ()
    assert facts.after["log_loss"] < facts.before["log_loss"] - 0.1
    assert facts.after["ece"] < facts.before["ece"] / 2
    assert facts.before["log_loss"] == pytest.approx(score(predictions)["log_loss"])
    cool = tempered(predictions.probabilities, facts.temperature)
    assert (cool.argmax(axis=1) == predictions.predicted).all()


def test_the_figures_after_are_of_rows_that_the_fit_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = drawn(100, heat=2.0)
    seen: list[int] = []

    def fit(labels: Any, probabilities: Any) -> float:
        seen.append(len(labels))
        return fit_temperature(labels, probabilities)

    monkeypatch.setattr(calibration, "fit_temperature", fit)
    facts = calibrate(predictions)
    assert seen == [100, 80, 80, 80, 80, 80]
    fitted = score(replace(predictions, probabilities=tempered(predictions.probabilities, facts.temperature)))
    assert facts.after["log_loss"] > fitted["log_loss"]


def test_a_model_that_is_calibrated_already_stays_as_it_is() -> None:
    left = [calibrate(drawn(60, seed=seed)) for seed in range(40)]
    kept = [facts for facts in left if facts.temperature == 1.0]
    assert 28 < len(kept) < 40, "three of four; of so few rows some seem to gain by chance"
    assert {facts.notes for facts in kept} == {
        ("No temperature lowered the log loss of rows that it was not fitted to.",)
    }
    assert all(facts.before == facts.after for facts in kept)


def test_rows_without_a_mistake_determine_no_temperature() -> None:
    labels = np.arange(60) % 2
    facts = calibrate(made(labels, np.where(labels[:, None] == [0, 1], 0.9, 0.1)))
    assert facts.temperature == 1.0
    assert facts.notes == ("These rows do not determine a temperature (the best one lies at the edge, 0.1).",)


def test_few_rows_and_classes_without_rows_leave_all_as_it_is() -> None:
    few = drawn(MIN_ROWS - 1, heat=5.0)
    assert calibrate(few).notes == ("49 calibrate rows are fewer than 50, so nothing was fitted.",)
    assert calibrate(few).temperature == 1.0
    assert calibrate(drawn(MIN_ROWS, heat=5.0)).temperature > 1.5
    none = made(np.zeros(0), np.zeros((0, 2)))
    assert calibrate(none, metric="mcc").notes == ("0 calibrate rows are fewer than 50, so nothing was fitted.",)
    lacking = made(np.arange(80) % 2, np.full((80, 3), 1 / 3))
    assert calibrate(lacking).notes == ("the class c has no calibrate rows, so nothing was fitted.",)


def test_the_temperature_can_be_left_alone() -> None:
    facts = calibrate(drawn(200, heat=3.0), temperature=False)
    assert (facts.temperature, facts.notes) == (1.0, ())
    assert facts.before == facts.after


# --- thresholds


def test_the_threshold_of_two_classes_is_where_the_second_ones_probability_decides() -> None:
    probabilities = np.linspace(0.005, 0.995, 100)
    labels = probabilities > 0.2
    thresholds = fit_thresholds(
        labels.astype(int), np.stack([1 - probabilities, probabilities], axis=1), metric="accuracy"
    )
    assert thresholds.sum() == pytest.approx(1.0)
    assert thresholds[1] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "mcc"])
def test_thresholds_raise_a_score_of_rare_classes(metric: str) -> None:
    predictions = drawn(3000, heat=1.3, shares=RARE)
    facts = calibrate(predictions, metric=metric)
    assert facts.metric == metric
    assert facts.thresholds is not None
    assert sum(facts.thresholds) == pytest.approx(1.0)
    assert facts.after[metric] > facts.before[metric] + 0.02
    assert facts.before[metric] == pytest.approx(score(predictions)[metric])
    fresh = drawn(4000, heat=1.3, shares=RARE, seed=1)
    cool = replace(fresh, probabilities=tempered(fresh.probabilities, facts.temperature))
    assert score(replace(cool, thresholds=facts.thresholds))[metric] > score(cool)[metric]


def test_thresholds_that_help_only_the_rows_they_were_fitted_to_are_dropped() -> None:
    found = [calibrate(drawn(200, seed=seed), temperature=False, metric="accuracy") for seed in range(10)]
    dropped = [facts for facts in found if facts.thresholds is None]
    assert len(dropped) >= 5
    assert {facts.notes for facts in dropped} == {
        ("No thresholds raised accuracy of rows that they were not fitted to.",)
    }
    assert all(facts.before == facts.after for facts in dropped)


def test_of_equally_good_thresholds_the_most_probable_class_stays_the_answer() -> None:
    labels = np.arange(60) % 3
    sure = np.where(labels[:, None] == [0, 1, 2], 0.8, 0.1)
    assert fit_thresholds(labels, sure, metric="macro_f1").tolist() == [1 / 3] * 3


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 4), metric=st.sampled_from(["accuracy", "macro_f1", "mcc"]))
def test_fitted_thresholds_are_never_worse_on_their_own_rows(seed: int, classes: int, metric: str) -> None:
    predictions = drawn(80, shares=tuple([0.5] + [0.5 / (classes - 1)] * (classes - 1)), seed=seed)
    thresholds = fit_thresholds(predictions.labels, predictions.probabilities, metric=metric)
    before, after = (
        score(replace(predictions, thresholds=one)).get(metric, 0.0) for one in (None, tuple(thresholds.tolist()))
    )
    assert after >= before - 1e-12


def test_facts_survive_json() -> None:
    for facts in (calibrate(drawn(300, heat=2.0, shares=(0.8, 0.2)), metric="macro_f1"), calibrate(drawn(3))):
        assert facts_from(json.loads(json.dumps(asdict(facts)))) == facts


# --- what thresholds mean elsewhere


def test_scores_and_pictures_follow_the_thresholds() -> None:
    predictions = made([0, 1, 1, 0], [[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1]])
    moved = replace(predictions, thresholds=(0.7, 0.3))
    assert predictions.predicted.tolist() == [0, 0, 1, 0]
    assert moved.predicted.tolist() == [1, 1, 1, 0]
    assert moved.confidence.tolist() == [0.4, 0.4, 0.8, 0.9]
    assert moved.weighed.sum(axis=1) == pytest.approx(np.ones(4))
    assert moved.weighed.argmax(axis=1).tolist() == moved.predicted.tolist()
    assert confusion(moved).tolist() == [[1, 1], [0, 2]]
    assert score(moved)["log_loss"] == score(predictions)["log_loss"]


@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.0), (0.5, float("nan")), (0.5, -1.0), (0.5, float("inf"))])
def test_thresholds_that_cannot_be_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="thresholds must be positive, one for each of 2 classes"):
        made([0], [[0.5, 0.5]], thresholds=thresholds)
