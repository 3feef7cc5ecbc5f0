"""The statistics of the confirmation: who goes in, and who wins."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hpo.finalists import choose_finalists, judge
from hpo.selection import contestants_of, reason_of, rival_of
from pipelines.predictions import Predictions

ROWS = 1000
LABELS = np.arange(ROWS) % 2


def answers(right: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Probabilities of a model that has so many of the rows right."""
    order = np.random.default_rng(seed).permutation(ROWS)
    predicted = LABELS.copy()
    predicted[order[right:]] = 1 - predicted[order[right:]]
    return np.eye(2)[predicted] * 0.8 + 0.1


def predictions(right: int, *, seed: int = 0) -> Predictions:
    names = [str(row) for row in range(ROWS)]
    return Predictions(names, names, LABELS, answers(right, seed=seed), ("bad", "good"))


def seeds(*right: int) -> NDArray[np.float64]:
    """Several trainings of one configuration; which rows they miss has nothing to do with those of another's."""
    return np.stack([answers(one, seed=10_000 * index + one) for index, one in enumerate(right)])


def verdict(*contestants: NDArray[np.float64], simplest: list[int] | None = None, prefer: str = "simpler"):  # type: ignore[no-untyped-def]
    models = dict(enumerate(contestants))
    return judge("accuracy", LABELS, models, simplest=simplest or [*models], prefer=prefer)  # type: ignore[arg-type]


def test_finalists_are_the_best_trial_and_those_that_cannot_be_told_from_it() -> None:
    found = {3: predictions(850), 0: predictions(845, seed=1), 7: predictions(840, seed=2), 5: predictions(700, seed=3)}
    assert choose_finalists("accuracy", found, ranked=[3, 0, 7, 5], most=9) == [3, 0, 7]
    assert choose_finalists("accuracy", found, ranked=[3, 0, 7, 5], most=2) == [3, 0]
    assert choose_finalists("accuracy", found, ranked=[3, 0, 7, 5], most=1) == [3]


def test_one_that_is_better_beyond_chance_wins_whatever_is_simpler() -> None:
    found = verdict(seeds(800), seeds(880))
    assert (found.winner, found.leader, found.open, found.clear) == (1, 1, [1], True)
    assert reason_of(found, defaults=1) == "better than every other finalist"


def test_of_equals_the_simplest_wins_or_if_so_wished_the_higher_mean() -> None:
    found = verdict(seeds(850), seeds(860))
    assert (found.winner, found.leader, found.open, found.clear) == (0, 1, [0, 1], False)
    assert reason_of(found, defaults=1) == (
        "the known-good default, the simplest of trials that cannot be told apart: 0, 1"
    )
    assert verdict(seeds(850), seeds(860), prefer="higher").winner == 1


def test_the_simplest_of_those_that_are_behind_does_not_win() -> None:
    found = verdict(seeds(700), seeds(850), seeds(855), simplest=[0, 1, 2])
    assert (found.winner, found.open) == (1, [1, 2])
    assert [one.trial for one in contestants_of(found, {0: 1, 1: 1, 2: 1}, defaults=1)] == [2, 1, 0]


def test_seeds_that_differ_widely_leave_the_decision_open() -> None:
    """One lucky training against one unlucky one looks clear; two each show that it is luck."""
    assert verdict(seeds(800), seeds(880)).clear
    found = verdict(seeds(800, 880), seeds(880, 800))
    assert not found.clear
    assert found.measured[0].value == pytest.approx(0.84)


def test_for_a_metric_that_should_be_small_the_small_one_leads() -> None:
    sure, unsure = answers(900), answers(900) * 0.5 + 0.25
    found = judge("log_loss", LABELS, {0: unsure[None], 1: sure[None]}, simplest=[0, 1], prefer="simpler")
    assert (found.winner, found.clear) == (1, True)


def test_a_rival_is_beaten_only_beyond_chance() -> None:
    clear = rival_of("tfidf", predictions(850), predictions(780, seed=1), metric="accuracy")
    close = rival_of("tfidf", predictions(850), predictions(845, seed=1), metric="accuracy")
    assert clear is not None
    assert close is not None
    assert clear.beaten
    assert not close.beaten
    assert clear.in_words().startswith("better than logistic regression over TF-IDF (0.7800): +0.0700 (")
    assert close.in_words().startswith("NOT better with confidence than logistic regression over TF-IDF (0.8450)")
