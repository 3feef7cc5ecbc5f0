"""What the spent-alpha counter promises, by simulation of a test split that is looked at again and again."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from pipelines.compare import mcnemar
from pipelines.spending import alpha_of

ROWS, LOOKS, SEQUENCES = 1000, 50, 600


def answers(rng: np.random.Generator, difficulty: NDArray[np.float64], accuracy: float) -> NDArray[np.bool_]:
    """Which rows a fresh model has right, in each sequence: hard rows are hard for all, the rest is its own luck."""
    luck = rng.normal(size=difficulty.shape)
    return np.asarray(0.8 * difficulty + 0.6 * luck < norm.ppf(accuracy), dtype=np.bool_)


def promotions(levels: list[float], *, accuracy_of: dict[int, float] | None = None) -> NDArray[np.bool_]:
    """Whether the k-th challenger was promoted, (sequences, looks); each meets the champion of its time."""
    rng = np.random.default_rng(11)
    difficulty = rng.normal(size=(SEQUENCES, ROWS))
    champion = answers(rng, difficulty, 0.85)
    promoted = np.zeros((SEQUENCES, len(levels)), dtype=np.bool_)
    for look, level in enumerate(levels):
        challenger = answers(rng, difficulty, (accuracy_of or {}).get(look, 0.85))
        won, lost = ((one & ~other).sum(axis=1) for one, other in ((challenger, champion), (champion, challenger)))
        promoted[:, look] = mcnemar(won, lost, "better") <= level
        champion = np.where(promoted[:, look, None], challenger, champion)
    return promoted


@pytest.fixture(scope="module")
def spent() -> list[float]:
    return [alpha_of(look) for look in range(1, LOOKS + 1)]


def test_of_fifty_equal_challengers_any_is_promoted_in_at_most_one_sequence_of_twenty(spent: list[float]) -> None:
    assert promotions(spent).any(axis=1).mean() <= 0.05


def test_the_same_level_at_each_look_promotes_an_equal_challenger_in_two_sequences_of_five() -> None:
    assert promotions([0.05] * LOOKS).any(axis=1).mean() > 0.35


def test_a_clearly_better_challenger_is_promoted_even_at_the_fiftieth_look(spent: list[float]) -> None:
    better = promotions(spent, accuracy_of={LOOKS - 1: 0.92})
    assert better[:, -1].mean() > 0.9


def test_levels_are_known_and_add_up_to_alpha() -> None:
    assert alpha_of(1) == pytest.approx(0.0303964, abs=1e-7)
    assert alpha_of(3) == pytest.approx(alpha_of(1) / 9)
    assert alpha_of(1, alpha=0.01) == pytest.approx(0.01 * 6 / math.pi**2)
    total = sum(map(alpha_of, range(1, 10_001)))
    assert 0.05 - 1e-5 < total < 0.05


@pytest.mark.parametrize("look", [0, -1])
def test_looks_are_counted_from_one(look: int) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        alpha_of(look)
    assert str(caught.value) == f"looks are counted from 1, not {look}"
