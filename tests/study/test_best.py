"""What is optimized, and whose model survives."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from hpo.storage import best_trial

from .checks import Session, records

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_several_objectives_are_told_together_and_nothing_is_pruned(session: Session) -> None:
    objective = ["accuracy", "latency_ms"]
    pruner = {"name": "threshold", "options": {"lower": 0.99}}
    controller = session(objective=objective, pruner=pruner, budget={"trials": 3})
    controller.run()
    assert [direction.name for direction in controller.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, record in zip(controller.study.get_trials(), records(controller), strict=True):
        assert trial.state == TrialState.COMPLETE
        assert trial.values == record["values"] == [pytest.approx(record["scores"]["accuracy"]), 1.0]
        assert record["objective"] == objective


def test_a_cost_that_is_measured_at_the_end_can_be_the_objective(session: Session) -> None:
    controller = session(objective="latency_ms", pruner="median", budget={"trials": 2})
    controller.run()
    assert [trial.values for trial in controller.study.get_trials()] == [[1.0], [1.0]]


def test_only_the_best_trials_model_survives(session: Session, home: Path) -> None:
    space = {"train.learning_rate": [1e-6, 1e-5, 1e-4, 1e-3]}
    controller = session(space=space, sampler="grid", budget={"trials": 4})
    controller.run()
    best = best_trial(controller.study)
    assert best is not None
    assert best.params == {"train.learning_rate": 1e-4}
    assert [path.parent.name for path in home.glob("work/toy/trial-*/model")] == [f"trial-{best.number:05d}"]
    assert len(list(home.glob("work/toy/trial-*/artifacts"))) == 4


def test_the_better_of_two_is_decided_by_the_first_objectives_direction(session: Session, home: Path) -> None:
    controller = session(
        objective="log_loss", space={"train.learning_rate": [1e-6, 1e-4]}, sampler="grid", budget={"trials": 2}
    )
    controller.run()
    best = best_trial(controller.study)
    assert best is not None
    assert best.params == {"train.learning_rate": 1e-4}
    assert [path.parent.name for path in home.glob("work/toy/trial-*/model")] == [f"trial-{best.number:05d}"]
