"""What a seeded TPE proposes next, when one half of the trials is paused."""

import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hpo.informed import Informed

SPACE = {"lr": optuna.distributions.FloatDistribution(1e-6, 1e-2, log=True)}


def sampler(seed: int = 3, **options: Any) -> optuna.samplers.TPESampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=4, **options)


def a_study(state: TrialState) -> optuna.Study:
    """Twenty trials; those near 1e-3, which have reported the best scores, are in `state`."""
    study = optuna.create_study(direction="maximize")
    for index in range(20):
        rate = 10 ** -(6 - 4 * index / 19)
        score = 1 - abs(math.log10(rate) + 3) / 3
        good = score > 0.7
        trial = create_trial(
            params={"lr": rate},
            distributions=SPACE,
            intermediate_values={100: score},
            state=state if good else TrialState.PRUNED,
        )
        study.add_trial(trial)
    return study


def proposals(study: optuna.Study, using: optuna.samplers.BaseSampler, count: int = 20) -> list[float]:
    study.sampler = using
    return [study.ask().suggest_float("lr", 1e-6, 1e-2, log=True) for _ in range(count)]


@pytest.mark.parametrize("options", [{}, {"multivariate": False}, {"group": True}])
def test_a_paused_trial_teaches_what_a_pruned_one_does(options: dict[str, Any]) -> None:
    paused, pruned = a_study(TrialState.RUNNING), a_study(TrialState.PRUNED)
    assert proposals(paused, Informed(sampler(**options))) == proposals(pruned, Informed(sampler(**options)))


def test_without_that_paused_trials_would_drive_the_sampler_away() -> None:
    def distance(wrapped: bool) -> float:
        """Decades between the best rate and the next proposal, on the average."""
        using = [Informed(sampler(seed)) if wrapped else sampler(seed) for seed in range(20)]
        rates = [proposals(a_study(TrialState.RUNNING), one, 1)[0] for one in using]
        return sum(abs(math.log10(rate) + 3) for rate in rates) / len(rates)

    assert distance(wrapped=True) < 0.6 < 1.0 < distance(wrapped=False)


def test_a_trial_without_a_report_is_still_a_liars_and_the_study_itself_is_not_changed() -> None:
    study = a_study(TrialState.RUNNING)
    proposals(study, Informed(sampler()))
    states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.RUNNING) > 20

    def with_a_silent_one() -> optuna.Study:
        study = a_study(TrialState.PRUNED)
        study.add_trial(create_trial(params={"lr": 1e-3}, distributions=SPACE, state=TrialState.RUNNING))
        return study

    informed = proposals(with_a_silent_one(), Informed(sampler()))
    assert informed == proposals(with_a_silent_one(), sampler())
    assert informed != proposals(a_study(TrialState.PRUNED), sampler())


@pytest.mark.parametrize("name", ["RandomSampler", "GPSampler", "QMCSampler", "NSGAIISampler"])
def test_other_samplers_work_inside(name: str) -> None:
    inside = getattr(optuna.samplers, name)(seed=1)
    rates = proposals(a_study(TrialState.RUNNING), Informed(inside), 3)
    assert all(1e-6 <= rate <= 1e-2 for rate in rates)
    Informed(inside).reseed_rng()
