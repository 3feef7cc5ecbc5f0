"""The gate: what it promises over many challengers, and what each policy, floor and limit says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import norm

from hpo import gate
from hpo.gate import Contender, Verdict, elsewhere_problems, floor_problems, judge, refuse_unknown_floors
from hpo.spec import Promotion
from pipelines.errors import ConfigError, DataError
from pipelines.predictions import Predictions
from pipelines.scores import score

ROWS, LOOKS, SEQUENCES = 1000, 50, 200
LABELS = np.arange(ROWS) % 2


def answering(right: NDArray[np.bool_], **costs: float) -> Contender:
    """A model that has just these rows right, always with the same confidence."""
    rows = len(right)
    labels = np.arange(rows) % 2
    probabilities = np.full((rows, 2), 0.2)
    probabilities[np.arange(rows), np.where(right, labels, 1 - labels)] = 0.8
    predictions = Predictions(
        ids=[str(row) for row in range(rows)],
        texts=["x" * (row % 50 + 1) for row in range(rows)],
        labels=labels.astype(np.int64),
        probabilities=probabilities,
        names=("bad", "good"),
    )
    return Contender(predictions, {"accuracy": float(right.mean()), **costs})


def of_accuracy(rng: np.random.Generator, difficulty: NDArray[np.float64], accuracy: float) -> Contender:
    """A fresh model of this quality: rows that are hard are hard for all, the rest is its own luck."""
    luck = rng.normal(size=ROWS)
    return answering(0.8 * difficulty + 0.6 * luck < norm.ppf(accuracy))


def promotes_an_equal(seed: int) -> bool:
    """Whether any of 50 challengers that are as good as the first champion is promoted, one after the other."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=ROWS)
    champion = of_accuracy(rng, difficulty, 0.85)
    for opening in range(2, LOOKS + 2):  # the first one was the champion's own
        challenger = of_accuracy(rng, difficulty, 0.85)
        if judge(Promotion(), challenger, champion, metric="accuracy", opening=opening).wins:
            return True
    return False


def test_of_fifty_equal_challengers_any_is_promoted_in_at_most_one_sequence_of_twenty() -> None:
    assert np.mean([promotes_an_equal(seed) for seed in range(SEQUENCES)]) <= 0.05


def test_a_constant_level_would_promote_an_equal_challenger_in_two_sequences_of_five(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "alpha_of", lambda opening, alpha: alpha)
    assert np.mean([promotes_an_equal(seed) for seed in range(60)]) > 0.3


@pytest.mark.parametrize(("opening", "accuracy"), [(2, 0.90), (10, 0.92), (50, 0.94)])
def test_a_clearly_better_challenger_is_promoted(opening: int, accuracy: float) -> None:
    wins = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        difficulty = rng.normal(size=ROWS)
        champion, challenger = (of_accuracy(rng, difficulty, one) for one in (0.85, accuracy))
        wins += judge(Promotion(), challenger, champion, metric="accuracy", opening=opening).wins
    assert wins >= 36


def right(share: float, *, first: float = 0.0) -> NDArray[np.bool_]:
    """So many rows right, from this share of the rows on."""
    places = np.arange(ROWS) / ROWS
    return (places >= first) & (places < first + share)


def test_the_first_one_reigns() -> None:
    verdict = judge(Promotion(), answering(right(0.6)), None, metric="accuracy", opening=1)
    assert (verdict.wins, verdict.reason) == (True, "there was no champion")
    assert (verdict.champion, verdict.test, verdict.difference, verdict.p) == (None, None, None, None)
    assert verdict.in_words() == ["locked test accuracy 0.6000", "opening 1 of these test rows for this model"]


def test_the_verdict_names_test_difference_interval_level_and_opening() -> None:
    verdict = judge(Promotion(), answering(right(0.9)), answering(right(0.8)), metric="accuracy", opening=2)
    assert verdict.wins
    assert verdict.reason == "better than the champion on the locked test rows (accuracy)"
    assert (verdict.policy, verdict.test, verdict.opening) == ("better", "exact McNemar", 2)
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.level == pytest.approx(0.05 * 6 / (2 * np.pi) ** 2)
    assert verdict.p == pytest.approx(0.5**100)
    assert verdict.low is not None
    assert verdict.high is not None
    assert 0.07 < verdict.low < 0.1 < verdict.high < 0.13
    assert verdict.in_words() == [
        f"locked test accuracy 0.9000, the champion's 0.8000: difference +0.1000 ({verdict.low:+.4f} to "
        f"{verdict.high:+.4f})",
        "exact McNemar: p 7.89e-31, level 0.0076, policy better",
        "opening 2 of these test rows for this model",
    ]


def test_a_later_look_wants_more_evidence() -> None:
    candidate, champion = answering(right(0.82)), answering(right(0.80) | right(0.005, first=0.95))  # 20 won, 5 lost
    verdicts = [judge(Promotion(), candidate, champion, metric="accuracy", opening=k) for k in (1, 2, 3, 4)]
    assert [one.wins for one in verdicts] == [True, True, True, False]
    assert [one.p for one in verdicts] == [pytest.approx(0.00204, abs=1e-5)] * 4
    assert verdicts[3].reason == "not better than the champion on the locked test rows (accuracy)"


def test_the_same_model_is_not_better() -> None:
    one = answering(right(0.9))
    verdict = judge(Promotion(), one, one, metric="accuracy", opening=1)
    assert not verdict.wins
    assert (verdict.p, verdict.difference) == (1.0, 0.0)


def test_a_difference_below_the_minimum_effect_is_no_reason_to_change() -> None:
    policy = Promotion(minimum_effect=0.03)
    verdict = judge(policy, answering(right(0.82)), answering(right(0.80)), metric="accuracy", opening=1)
    assert (verdict.wins, verdict.reason) == (False, "better by 0.0200 accuracy, and 0.03 is asked for")
    assert judge(policy, answering(right(0.84)), answering(right(0.80)), metric="accuracy", opening=1).wins


CHEAPER: dict[str, Any] = {"policy": "non_inferior_and_cheaper", "margin": 0.02}


def nearly_equal(**costs: float) -> tuple[Contender, Contender]:
    """A candidate that is right on other rows now and then, and the champion: equal accuracies."""
    champion = right(0.8)
    candidate = champion ^ right(0.004) ^ right(0.004, first=0.9)
    return answering(candidate, **costs), answering(champion, parameters=22e6, latency_ms=10.0)


@pytest.mark.parametrize(
    ("costs", "wins", "reason"),
    [
        ({"parameters": 11e6, "latency_ms": 10.0}, True, "smaller (11,000,000 parameters, not 22,000,000)"),
        ({"parameters": 22e6, "latency_ms": 8.9}, True, "faster (8.9 ms a text, not 10.0)"),
        ({"parameters": 22e6, "latency_ms": 9.1}, False, "as good as the champion, and neither smaller nor faster"),
        ({"parameters": 44e6, "latency_ms": 5.0}, True, "faster (5.0 ms a text, not 10.0)"),
    ],
)
def test_what_is_as_good_must_be_cheaper(costs: dict[str, float], wins: bool, reason: str) -> None:
    verdict = judge(Promotion(**CHEAPER), *nearly_equal(**costs), metric="accuracy", opening=1)
    assert verdict.wins is wins
    assert verdict.reason.endswith(reason)
    assert verdict.policy == "non_inferior_and_cheaper"


def test_what_may_be_worse_by_the_margin_is_refused_however_cheap() -> None:
    candidate, champion = nearly_equal(parameters=1.0, latency_ms=0.1)
    verdict = judge(Promotion(**CHEAPER | {"margin": 0.005}), candidate, champion, metric="accuracy", opening=1)
    assert not verdict.wins
    assert verdict.low is not None
    assert verdict.reason == f"it may be worse than the champion by {-verdict.low:.4f} accuracy; the margin is 0.005"
    later = judge(Promotion(**CHEAPER | {"margin": 0.01}), candidate, champion, metric="accuracy", opening=1)
    assert later.wins
    assert not judge(Promotion(**CHEAPER | {"margin": 0.01}), candidate, champion, metric="accuracy", opening=9).wins


def test_non_inferiority_needs_a_margin() -> None:
    with pytest.raises(ValidationError, match="needs a margin: how much worse is still as good"):
        Promotion(policy="non_inferior_and_cheaper")


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss", "auroc"])
def test_other_metrics_are_judged_by_permutation_in_their_own_direction(metric: str) -> None:
    def scored(tested: Contender) -> Contender:
        return replace(tested, scores=score(tested.predictions))

    better = scored(answering(np.arange(300) % 10 > 0))
    worse = scored(answering(np.arange(300) % 5 > 0))
    up = judge(Promotion(), better, worse, metric=metric, opening=2)
    down = judge(Promotion(), worse, better, metric=metric, opening=2)
    assert (up.wins, down.wins) == (True, False)
    assert up.test == "permutation"
    assert up.difference == pytest.approx(better.scores[metric] - worse.scores[metric])
    assert up.difference is not None
    assert (up.difference < 0) == (metric == "log_loss")
    margin = Promotion(**CHEAPER)
    cheap = replace(better, scores={**better.scores, "parameters": 1.0})
    dear = replace(worse, scores={**worse.scores, "parameters": 2.0})
    assert judge(margin, cheap, dear, metric=metric, opening=2).wins
    cheap, dear = replace(worse, scores={**worse.scores, "parameters": 1.0}), replace(better, scores=better.scores)
    assert not judge(margin, cheap, dear, metric=metric, opening=2).wins


def test_a_late_look_can_still_be_won_by_permutation() -> None:
    better, worse = answering(np.arange(200) % 10 > 0), answering(np.arange(200) % 2 > 0)
    better, worse = (replace(one, scores=score(one.predictions)) for one in (better, worse))
    verdict = judge(Promotion(), better, worse, metric="macro_f1", opening=12)
    assert verdict.level < 1 / 2001, "2,000 permutations could not reach it"
    assert verdict.wins


def test_floors_and_limits_come_before_everything_and_are_named() -> None:
    policy = Promotion(
        floors={"class good": 0.95, "class bad": 0.7, "accuracy": 0.9, "log_loss": 0.5, "1 to 5 characters": 1.0},
        max_megabytes=100.0,
        max_latency_ms=5.0,
    )
    some = np.arange(ROWS) % 10 > 0  # each tenth row is wrong; those are even, so of class bad
    candidate = answering(some, log_loss=0.6, megabytes=120.5, latency_ms=4.0)
    verdict = judge(policy, candidate, None, metric="accuracy", opening=1)
    assert not verdict.wins
    assert verdict.failed == (
        "log_loss 0.6000 (at most 0.5)",
        "1 to 5 characters 0.8000 (floor 1)",
        "megabytes 120.5 (at most 100)",
    )
    assert verdict.reason == f"it misses {'; '.join(verdict.failed)}"
    lower = Promotion(floors={"class bad": 0.85, "neither": 0.5})
    champion = answering(right(0.1))
    verdict = judge(lower, candidate, champion, metric="accuracy", opening=1)
    assert verdict.failed == ("class bad 0.8000 (floor 0.85)", "neither (floor 0.5; no test row is of it)")
    assert verdict.difference == pytest.approx(0.8), "the figures are told all the same"
    assert judge(Promotion(floors={"class bad": 0.8}), candidate, champion, metric="accuracy", opening=1).wins


def test_a_metric_that_the_rows_do_not_define_decides_for_nobody() -> None:
    one = answering(right(0.9))
    of_one_class = replace(one.predictions, labels=np.zeros(ROWS, np.int64))
    alike = replace(one, predictions=of_one_class)
    verdict = judge(Promotion(), alike, alike, metric="auroc", opening=1)
    assert (verdict.wins, verdict.candidate, verdict.test) == (False, None, None)
    assert verdict.reason == "the test rows do not define auroc: the two cannot be compared"
    assert verdict.in_words()[0] == "locked test auroc not defined"


def test_an_obstacle_refuses_without_a_test() -> None:
    one, other = answering(right(0.9)), None
    verdict = judge(Promotion(), one, other, metric="accuracy", opening=3, obstacle="they differ")
    assert (verdict.wins, verdict.reason, verdict.test, verdict.opening) == (False, "they differ", None, 3)


def test_models_that_were_tested_on_other_rows_are_not_compared() -> None:
    one, other = answering(right(0.9)), answering(right(0.9)[:500])
    with pytest.raises(ValueError, match="not tested on the same rows"):
        judge(Promotion(), one, other, metric="accuracy", opening=1)


def test_names_of_floors_are_checked_with_a_suggestion() -> None:
    policy = Promotion(floors={"acuracy": 0.8, "class goood": 0.7, "class bad": 0.7, "1 to 40 characters": 0.6})
    wanted = "a floor is a metric, `class NAME` or `1 to 40 characters`"
    assert floor_problems(policy) == {"acuracy": f"{wanted}; did you mean accuracy?"}
    assert floor_problems(policy, ["good", "bad"]) == {
        "acuracy": f"{wanted}; did you mean accuracy?",
        "class goood": f"{wanted}; did you mean class good?",
    }
    with pytest.raises(ConfigError, match=r"promotion\.floors\.acuracy: a floor is"):
        refuse_unknown_floors(policy, ["good", "bad"])


def test_a_verdict_is_plain_values() -> None:
    verdict = judge(Promotion(), answering(right(0.9)), answering(right(0.8)), metric="accuracy", opening=2)
    assert isinstance(verdict, Verdict)
    assert {type(value) for value in vars(verdict).values()} <= {bool, str, float, int, tuple}


def test_floors_on_other_data_name_metrics_and_data_of_the_studys_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stars.csv").write_text("text,label\na,one\nb,five\n")
    policy = Promotion.model_validate({"elsewhere": {"stars.csv": {"accurracy": 0.7}}})
    assert elsewhere_problems(policy) == {
        "stars.csv.accurracy": "a floor on other data is a metric; did you mean accuracy?"
    }
    with pytest.raises(DataError) as refused:
        refuse_unknown_floors(policy, ("bad", "good"))
    assert str(refused.value) == (
        "promotion.elsewhere.stars.csv: stars.csv: of its labels 'five' and 'one' cannot be matched with a class of "
        "the model ('bad' and 'good'); give data of the study's classes"
    )
    refuse_unknown_floors(policy, ("five", "one"))
