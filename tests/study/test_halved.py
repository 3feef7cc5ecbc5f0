"""Successive halving: a study of the stub is 128 examples long, with rungs at 14 and 43 of them (steps 1 and 3)."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo import meter as meter_module
from hpo.estimate import Prospect
from hpo.listing import trials as trial_rows
from hpo.machine import GIB
from hpo.spec import StudySpec
from hpo.storage import open_storage
from hpo.study import Controller
from pipelines.errors import ConfigError
from pipelines.files import read_json
from pipelines.journal import read_journal
from tests.costs import a_cost
from tests.faults import shows
from tests.stub import a_spec, calls, instruct

from .checks import ROOT, Session, records, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


HALVING: dict[str, Any] = {"schedule": {"name": "halving", "floor": 10, "factor": 3}, "pruner": None}


def stood_at(trial: optuna.trial.FrozenTrial) -> list[int]:
    return sorted(trial.intermediate_values)


def check_halved(home: Path, spec: StudySpec) -> list[optuna.trial.FrozenTrial]:
    """The invariants of a halved study that is over."""
    study = optuna.load_study(study_name=spec.name, storage=open_storage(f"sqlite:///{home}/studies.db"))
    trials = study.get_trials()
    assert len(trials) == spec.budget.trials
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert any(trial.state == TrialState.COMPLETE for trial in trials)
    for trial in trials:
        directory = home / "work" / spec.name / f"trial-{trial.number:05d}"
        assert stood_at(trial) == [14, 43, 128][: len(trial.intermediate_values)]
        assert (trial.state == TrialState.COMPLETE) == (stood_at(trial) == [14, 43, 128])
        assert read_json(directory / "trial.json")["state"] == trial.state.name
        steps = [entry["step"] for entry in read_journal(directory / "progress.jsonl") if entry["kind"] == "step"]
        assert steps == list(range(1, {14: 1, 43: 3, 128: 8}[stood_at(trial)[-1]] + 1)), "no gap, none twice"
        assert not (directory / "checkpoints").exists()
    came = Counter(rung for trial in trials for rung in stood_at(trial))
    assert came[43] >= max(1, came[14] // 3)
    assert came[128] >= max(1, came[43] // 3)
    return trials


def test_the_best_third_goes_on_and_a_resumed_trial_repeats_nothing(session: Session, home: Path) -> None:
    controller = session(**HALVING, budget={"trials": 9})
    assert controller.run() == "all 9 trials are finished"
    trials = check_halved(home, controller.spec)
    assert sum(trial.state == TrialState.PRUNED for trial in trials) >= 5
    assert {trial.user_attrs["reason"] for trial in trials if trial.state == TrialState.PRUNED} == {
        "pruned: behind the others"
    }
    best = max(trials, key=lambda trial: trial.intermediate_values[14])
    assert best.state == TrialState.COMPLETE, "the stub's curves do not cross"
    for trial in trials:
        begun = calls(controller.places.trial("toy", trial.number))
        assert begun == sorted(begun), "no segment began before the end of the last one"
    assert records(controller)[0]["scores"], "what ended at rest keeps its scores"


def test_a_paused_trial_shows_as_such_and_resumes_in_a_later_session(session: Session, home: Path) -> None:
    def stop(controller: Controller) -> None:
        if controller.paused >= 2:
            controller.request_stop(signal.SIGTERM)

    first = session({"pace": 0.02}, **HALVING, budget={"trials": 9}, show=stop)
    assert first.run() == "stopped on request"
    assert Counter(record["state"] for record in records(first))["PAUSED"] >= 2
    assert {row["state"] for row in trial_rows(first.places, "toy")} <= {"PAUSED", "INTERRUPTED", "PRUNED", "COMPLETE"}
    for record in records(first):
        if record["state"] == "PAUSED":
            kept = list((first.places.trial("toy", record["number"]) / "checkpoints").iterdir())
            assert [path.name for path in kept] == ["step-00000001"]
    second = session({}, **HALVING, budget={"trials": 9})
    assert second.run() == "all 9 trials are finished"
    check_halved(home, second.spec)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_halving_ranks_by_log_loss_when_asked_and_the_sampler_still_learns_the_objective(
    session: Session, home: Path, metric: str
) -> None:
    schedule = {"name": "halving", "floor": 10, "factor": 3, "score": "log_loss"}
    controller = session(schedule=schedule, pruner=None, budget={"trials": 6}, objective=metric)
    controller.run()
    for trial in check_halved(home, controller.spec):
        reports = trial.intermediate_values
        ranks = {int(rung): score for rung, score in trial.user_attrs["rungs"].items()}
        losses = {rung: 1 - score if metric == "accuracy" else score for rung, score in reports.items()}
        assert {rung: -loss for rung, loss in losses.items()} == pytest.approx(ranks)


def test_minutes_end_a_halved_study_and_more_trials_go_on_from_there(
    session: Session, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "_BEAT_SECONDS", 0.1)
    controller = session({"pace": 0.1}, **HALVING, budget={"trials": 100, "minutes": 0.03})
    assert controller.run() == "the 0.03 minutes are used up"
    ended = states(controller)
    assert ended["RUNNING"] == 0
    assert 2 <= ended.total() < 100
    cut = [one for one in controller.study.get_trials() if one.user_attrs.get("reason", "").startswith("budget: ")]
    assert cut
    assert all(one.user_attrs["goal"] > max(one.intermediate_values, default=0) for one in cut), "no one beat them"
    more = session({}, **HALVING, budget={"trials": ended.total() + 4})
    more.run()
    assert states(more).total() == ended.total() + 4
    assert states(more)["RUNNING"] == 0


def test_a_resting_trial_that_no_longer_fits_into_memory_is_ended_with_the_reason(session: Session) -> None:
    def stop(controller: Controller) -> None:
        if controller.paused:
            controller.request_stop(signal.SIGTERM)

    first = session({"pace": 0.02}, **HALVING, budget={"trials": 3}, show=stop)
    first.run()
    tiny = Prospect({"minilm": a_cost()}, each=0.1 * GIB, whole=0.1 * GIB)
    second = session({}, **HALVING, budget={"trials": 3}, prospect=tiny)
    assert second.run() == "all 3 trials are finished"
    reasons = {trial.user_attrs["reason"] for trial in second.study.get_trials()}
    assert "infeasible: needs about 1.0 GiB, this machine has 0.1 GiB" in reasons
    assert states(second) == {"PRUNED": 3}


def test_a_study_cannot_change_its_schedule(session: Session) -> None:
    session(**HALVING, budget={"trials": 1}).run()
    with pytest.raises(ConfigError) as caught:
        session(budget={"trials": 2})
    assert "schedule.name: was 'halving', is 'full'" in str(caught.value)


@shows("SIGKILL controller", "E")
@pytest.mark.parametrize("seed", range(3))
def test_a_halved_study_killed_at_random_ends_as_if_nothing_had_happened(home: Path, seed: int) -> None:
    chance = random.Random(seed)
    spec = json.dumps({**HALVING, "budget": {"trials": 9}})
    instruct(home / "work" / "toy", pace=0.03)
    command = [sys.executable, "-m", "tests.stub", str(home), spec, "2"]
    for _ in range(3):
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(2.0, 4.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout == (
        "all 9 trials are finished\n"
    )
    check_halved(home, a_spec(**HALVING, budget={"trials": 9}))
