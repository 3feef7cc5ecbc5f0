"""How much worse a model is elsewhere: the two sides are different rows, and the intervals hold."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.generalize.shift import Shift, observed, resampled, shifts
from pipelines.predictions import Predictions
from pipelines.scores import METRICS, score

NAMES = ("bad", "good")


def said(labels: NDArray[np.int64], chances: NDArray[np.float64]) -> Predictions:
    """Answers of which row `i` is right with probability `chances[i]` for its class."""
    probabilities = np.stack([1 - chances, chances], axis=1)
    probabilities = np.where(labels[:, None] == 1, probabilities, probabilities[:, ::-1])
    rows = len(labels)
    return Predictions([str(row) for row in range(rows)], [""] * rows, labels, probabilities, NAMES)


def drawn(rows: int, right: float, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    return said(labels, np.where(rng.random(rows) < right, 0.9, 0.2))


def by_name(found: list[Shift]) -> dict[str, Shift]:
    return {one.measure: one for one in found}


def test_every_score_of_the_training_report_is_compared_and_has_its_value() -> None:
    there, home = drawn(300, 0.7, 1), drawn(400, 0.9, 2)
    found = by_name(shifts(there, home, resamples=200))
    assert set(found) == {*METRICS, "kappa", "overconfidence"}
    ours, theirs = score(there), score(home)
    for name in METRICS:
        one = found[name]
        assert one.there.value == pytest.approx(ours[name])
        assert one.home is not None
        assert one.worse is not None
        assert one.home.value == pytest.approx(theirs[name])
        assert one.worse.value > 0, f"{name}: worse is above zero, whichever way the score goes"
        assert one.worse.low < one.worse.value < one.worse.high


def test_kappa_is_cohens_and_overconfidence_is_confidence_less_accuracy() -> None:
    from sklearn.metrics import cohen_kappa_score

    there = drawn(300, 0.7, 3)
    found = observed(there)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(there.labels, there.predicted))
    assert found["overconfidence"] == pytest.approx(there.confidence.mean() - there.correct.mean())


def test_what_the_rows_do_not_define_is_left_out() -> None:
    one_class = said(np.ones(20, np.int64), np.linspace(0.2, 0.9, 20))
    found = by_name(shifts(one_class, drawn(50, 0.9, 4), resamples=100))
    assert {"auroc", "average_precision", "mcc"}.isdisjoint(found)
    alone = by_name(shifts(drawn(30, 0.7, 4), None, resamples=100))["accuracy"]
    assert (alone.home, alone.worse) == (None, None)


def test_the_same_rows_give_the_same_intervals_again() -> None:
    there, home = drawn(100, 0.7, 5), drawn(100, 0.9, 6)
    assert shifts(there, home, resamples=100) == shifts(there, home, resamples=100)


def test_a_resample_does_not_depend_on_how_many_rows_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    there = drawn(60, 0.7, 7)
    whole = resampled(there, resamples=90, seed=0)
    monkeypatch.setattr("pipelines.generalize.shift._BLOCK", 60 * 7)
    parts = resampled(there, resamples=90, seed=0)
    assert whole["accuracy"].shape == parts["accuracy"].shape == (90,)
    assert abs(whole["accuracy"].mean() - parts["accuracy"].mean()) < 0.03


def test_the_two_sides_are_resampled_apart_though_they_look_alike() -> None:
    there = drawn(200, 0.8, 8)
    one = by_name(shifts(there, there, resamples=500))["accuracy"]
    assert one.worse is not None
    assert one.worse.value == 0
    assert one.worse.high - one.worse.low > 1.2 * (one.there.high - one.there.low), "two errors add up"


def test_nineteen_of_twenty_intervals_of_a_drop_hold_the_true_one() -> None:
    """200 pairs of samples from accuracies 0.8 and 0.9; binomial noise alone allows 0.91 to 0.98."""
    held = 0
    for seed in range(200):
        there, home = drawn(150, 0.8, 2 * seed + 1000), drawn(250, 0.9, 2 * seed + 1001)
        one = by_name(shifts(there, home, resamples=200, seed=seed))["accuracy"].worse
        assert one is not None
        held += one.low <= 0.1 <= one.high
    assert 0.91 <= held / 200 <= 0.98
