"""Paired comparison: against scipy, against hand calculation, and by simulation of what it promises."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipelines import compare
from pipelines.compare import Difference, compare_metric, draw_seeds, flips, matched_interval, mcnemar, slices
from pipelines.predictions import softmax
from pipelines.scores import METRICS

ROWS = 300
Floats = NDArray[np.float64]


def two_models(
    *, classes: int = 3, rows: int = ROWS, lead: float = 0.3, seed: int = 0
) -> tuple[NDArray, Floats, Floats]:
    """Labels, and probabilities of two models with much of their noise in common; the second is better by `lead`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    truth, common = np.eye(classes)[labels], rng.normal(size=(rows, classes))
    first, second = (
        softmax((1.2 + extra) * truth + common + 0.6 * rng.normal(size=(rows, classes))) for extra in (0.0, lead)
    )
    return labels, first, second


def answers(right: NDArray) -> Floats:
    """Probabilities of a model of two classes that is right in these rows, where all labels are 0."""
    return np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=-1)


def found(metric: str, *arrays: NDArray, **options: object) -> Difference:
    difference = compare_metric(metric, *arrays, **options)  # type: ignore[arg-type]
    assert difference is not None
    return difference


def test_mcnemar_is_the_binomial_test_of_the_rows_that_changed() -> None:
    assert mcnemar(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)  # by hand
    assert mcnemar(8, 1, "better") == pytest.approx((1 + 9) / 2**9)
    for won, lost in [(0, 0), (3, 3), (5, 12), (40, 20), (0, 7)]:
        if won + lost:
            assert mcnemar(won, lost) == pytest.approx(stats.binomtest(won, won + lost).pvalue)
            one_sided = stats.binomtest(won, won + lost, alternative="greater").pvalue
            assert mcnemar(won, lost, "better") == pytest.approx(one_sided)
        else:
            assert mcnemar(won, lost) == mcnemar(won, lost, "better") == 1.0


def test_mcnemar_of_arrays_is_that_of_each() -> None:
    assert mcnemar([8, 3], [1, 3]).tolist() == [float(mcnemar(8, 1)), float(mcnemar(3, 3))]


def test_accuracy_is_tested_by_mcnemar() -> None:
    labels, a, b = two_models()
    right = [model.argmax(axis=1) == labels for model in (a, b)]
    won, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    difference = found("accuracy", labels, a, b)
    assert difference.test == "exact McNemar"
    assert difference.p == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert difference.difference == pytest.approx((won - lost) / ROWS)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_interval_is_that_of_scipys_paired_bootstrap(metric: str) -> None:
    labels, a, b = two_models()
    rows = np.arange(ROWS)
    ours, theirs = (
        (model.argmax(axis=1) == labels) * 1.0 if metric == "accuracy" else -np.log(model[rows, labels])
        for model in (a, b)
    )
    expected = stats.bootstrap(
        (theirs - ours,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    difference = found(metric, labels, a, b, resamples=20_000)
    assert difference.difference == pytest.approx((theirs - ours).mean())
    width = expected.high - expected.low
    assert (difference.low, difference.high) == pytest.approx(tuple(expected), abs=0.03 * width)


def test_permutation_is_that_of_scipy() -> None:
    labels, a, b = two_models(rows=12, lead=0.8, seed=4)
    ours, theirs = (-np.log(model[np.arange(12), labels]) for model in (a, b))
    exact = stats.permutation_test(
        (theirs, ours), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
    )
    difference = found("log_loss", labels, a, b, resamples=40_000)
    assert difference.test == "permutation"
    assert 0.01 < exact.pvalue < 0.9
    assert difference.p == pytest.approx(exact.pvalue, abs=0.003)
    one_sided = found("log_loss", labels, a, b, resamples=40_000, alternative="better").p
    assert one_sided == pytest.approx(exact.pvalue / 2 if difference.gain > 0 else 1 - exact.pvalue / 2, abs=0.003)


@pytest.mark.parametrize("metric", METRICS)
def test_changing_sides_mirrors_everything(metric: str) -> None:
    labels, a, b = two_models()
    forth, back = (found(metric, labels, *pair, resamples=500) for pair in ((a, b), (b, a)))
    assert (back.a, back.b, back.p, back.test) == (forth.b, forth.a, pytest.approx(forth.p), forth.test)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-12)
    assert back.gain == pytest.approx(-forth.gain)


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_does_not_differ_from_itself(metric: str) -> None:
    labels, a, _ = two_models()
    itself = found(metric, labels, a, a, resamples=200)
    assert (itself.difference, itself.low, itself.high, itself.p) == pytest.approx((0, 0, 0, 1), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_much_better_model_is_found_better_in_the_metrics_own_direction(metric: str) -> None:
    labels, a, b = two_models(lead=4.0)
    better = found(metric, labels, a, b, alternative="better")
    assert better.gain > 0
    assert better.low * better.high > 0
    assert better.p < 0.01
    assert found(metric, labels, b, a, alternative="better").p > 0.9


def test_a_score_that_the_rows_do_not_define_has_no_difference() -> None:
    labels = np.zeros(10, dtype=np.int64)
    for metric in ("mcc", "auroc", "average_precision"):
        assert compare_metric(metric, labels, answers(np.ones(10)), answers(np.zeros(10))) is None


def test_rare_classes_are_in_every_resample() -> None:
    labels, a, b = two_models(classes=2, rows=60)
    labels[:] = 0
    labels[:2] = 1  # a plain resample lacks class 1 once in seven
    for metric in ("auroc", "balanced_accuracy"):
        difference = found(metric, labels, a, b)
        assert np.isfinite([difference.low, difference.high]).all()


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, a, b = two_models()
    whole = found("log_loss", labels, a, b, resamples=101)
    monkeypatch.setattr(compare, "_BLOCK", 7 * ROWS)
    parts = found("log_loss", labels, a, b, resamples=101)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


def test_few_seeds_are_drawn_with_the_variance_of_their_mean() -> None:
    values = np.array([0.1, 0.4, 0.9])
    means = draw_seeds(3, 40_000, np.random.default_rng(0)) @ values
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.03)  # n draws would give two thirds of it


def covered(truth: float, differences: list[Difference]) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in differences]))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "auroc"])
def test_interval_covers_the_truth_as_often_as_it_says(metric: str) -> None:
    population = two_models(classes=2, rows=400_000, seed=99)
    truth = found(metric, *population, resamples=1).difference
    differences = [found(metric, *two_models(classes=2, rows=200, seed=n), resamples=300) for n in range(400)]
    assert 0.91 <= covered(truth, differences) <= 0.98


def noisy_seeds(rng: np.random.Generator, *, seeds: int, mean: float, difficulty: Floats) -> Floats:
    """Seeds of one model, whose accuracies scatter by 2 points around a mean."""
    shares = mean + 0.02 * rng.normal(size=(seeds, 1))
    return answers(
        difficulty + 0.2 * rng.normal(size=(seeds, len(difficulty))) < stats.norm.ppf(shares) * math.hypot(1, 0.2)
    )


def test_interval_over_seeds_covers_the_mean_of_all_seeds_and_that_of_one_seed_does_not() -> None:
    rng, labels = np.random.default_rng(5), np.zeros(1500, dtype=np.int64)
    two_level, one_seed = [], []
    for _ in range(300):
        difficulty = rng.normal(size=1500)
        a, b = (noisy_seeds(rng, seeds=5, mean=mean, difficulty=difficulty) for mean in (0.80, 0.82))
        two_level.append(found("accuracy", labels, a, b, resamples=300))
        one_seed.append(found("accuracy", labels, a[0], b[0], resamples=300))
    assert two_level[0].test == "bootstrap"
    assert 0.88 <= covered(0.02, two_level) <= 0.98
    assert covered(0.02, one_seed) < 0.7


def test_equal_models_are_told_apart_as_rarely_as_the_level_says() -> None:
    pairs = [two_models(rows=100, lead=0.0, seed=n) for n in range(300)]
    low = np.mean([found("macro_f1", *pair, resamples=199).p <= 0.05 for pair in pairs])
    assert 0.015 <= low <= 0.09


def test_flips_are_the_rows_that_one_of_them_has_right_the_clearest_first() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    a = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9]])
    b = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.6, 0.4], [0.9, 0.1]])
    changed = flips(labels, a, b)
    assert changed.won.tolist() == [2, 1]
    assert changed.lost.tolist() == [4, 3]


def test_interval_of_matched_proportions_is_what_a_pencil_gives() -> None:
    # 10 rows, 4 won, 1 lost: half a row more in each cell gives 4.5 and 1.5 of 12.
    middle, spread = 3 / 12, math.sqrt((4.5 + 1.5) / 12 - (3 / 12) ** 2) / math.sqrt(12)
    assert matched_interval(4, 1, 10) == pytest.approx((middle - 1.959964 * spread, middle + 1.959964 * spread))
    assert matched_interval(1, 0, 1)[1] <= 1.0


def test_slices_are_the_classes_and_the_quarters_by_length() -> None:
    labels = np.array([0, 0, 1, 1])
    a = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    b = np.array([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.6, 0.4]])
    of_class, *rest = slices(labels, a, b, names=("bad", "good", "odd"), texts=["a", "bb" * 600, "ccc", "dddd"])
    assert (of_class.name, of_class.rows, of_class.a, of_class.b) == ("class bad", 2, 0.5, 1.0)
    assert (of_class.won, of_class.lost) == (1, 0)
    assert (of_class.low, of_class.high) == matched_interval(1, 0, 2)
    assert [(one.name, one.rows) for one in rest] == [
        ("class good", 2),
        ("1 to 1 characters", 1),
        ("3 to 3 characters", 1),
        ("4 to 4 characters", 1),
        ("1,200 to 1,200 characters", 1),
    ]


def test_texts_of_one_length_are_one_slice() -> None:
    labels, a, b = two_models(classes=2, rows=40)
    found_slices = slices(labels, a, b, names=("bad", "good"), texts=["same"] * 40)
    assert [one.name for one in found_slices] == ["class bad", "class good", "4 to 4 characters"]
