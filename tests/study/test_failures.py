"""What a trial that cannot be trained, or its worker, costs a study."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from hpo.executors.local import LocalExecutor
from pipelines.errors import DataError, StorageError
from tests.faults import shows
from tests.stub import calls

from .checks import Session, check, records, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


@shows("not finite", "E")
def test_an_infeasible_configuration_is_pruned_with_its_reason(session: Session) -> None:
    controller = session({"faults": {"1": "infeasible"}}, budget={"trials": 3})
    controller.run()
    assert states(controller) == {"COMPLETE": 2, "PRUNED": 1}
    reason = "infeasible: diverged: the loss is not finite at step 1"
    assert controller.study.get_trials()[1].user_attrs["reason"] == reason
    assert (records(controller)[1]["state"], records(controller)[1]["reason"]) == ("PRUNED", reason)


def test_values_that_contradict_each_other_are_pruned_without_training(session: Session) -> None:
    run = {"train": {"epochs": 2.0, "batch_size": 16, "schedule": "constant_with_cooldown", "warmup_ratio": 0.1}}
    space = {"train.warmup_ratio": [0.1, 0.9]}
    controller = session(run=run, space=space, sampler="grid", budget={"trials": 2})
    controller.run()
    pruned = [trial for trial in controller.study.get_trials() if trial.state == TrialState.PRUNED]
    assert [trial.params for trial in pruned] == [{"train.warmup_ratio": 0.9}]
    reason = "infeasible: Value error, warmup_ratio + cooldown_ratio must not exceed 1"
    assert pruned[0].user_attrs["reason"] == reason
    assert calls(controller.places.trial("toy", pruned[0].number)) == []
    assert records(controller)[pruned[0].number]["state"] == "PRUNED"


@shows("not finite", "H")
@pytest.mark.parametrize(("metric", "value"), [("log_loss", float("inf")), ("log_loss", float("nan")), ("auroc", None)])
def test_a_score_that_is_not_finite_or_not_there_is_no_result(session: Session, metric: str, value: Any) -> None:
    scores = {} if value is None else {metric: value}
    controller = session({"scores": {}}, objective=metric, budget={"trials": 2})
    (controller.places.study("toy") / "stub.json").write_text(json.dumps({"scores": scores}))
    controller.run()
    assert states(controller) == {"PRUNED": 2}
    assert {record["reason"] for record in records(controller)} == {f"infeasible: {metric} is undefined here"}


@shows("SIGKILL worker", "E")
@shows("memory limit", "E")
def test_a_lost_worker_costs_a_trial_at_most_one_checkpoint_interval(session: Session, home: Path) -> None:
    controller = session({"faults": {"0": ["well", "well", "kill", "exit"]}}, budget={"trials": 2})
    controller.run()
    assert {trial.state for trial in check(home, controller.spec)} == {TrialState.COMPLETE}
    assert calls(controller.places.trial("toy", 0)) == [0, 2, 4, 3, 3, 6], "twice from the checkpoint of step 3"


@shows("exception, exit", "E")
def test_a_trial_that_loses_its_worker_three_times_is_failed(session: Session) -> None:
    controller = session({"faults": {"1": "exit"}}, budget={"trials": 3})
    controller.run()
    assert states(controller) == {"COMPLETE": 2, "FAIL": 1}
    reason = "worker lost: the worker process ended with code 3, 3 times in a row"
    assert controller.study.get_trials()[1].user_attrs["reason"] == reason
    assert (records(controller)[1]["state"], records(controller)[1]["reason"]) == ("FAIL", reason)
    assert len(calls(controller.places.trial("toy", 1))) == 3


@shows("exception, exit", "E")
def test_a_bug_fails_its_trial_and_keeps_the_traceback(session: Session) -> None:
    controller = session({"faults": {"0": "raise"}}, budget={"trials": 2})
    controller.run()
    assert states(controller) == {"COMPLETE": 1, "FAIL": 1}
    assert records(controller)[0]["reason"] == "error: ValueError: a bug"
    written = (controller.places.trial("toy", 0) / "error.txt").read_text()
    assert written.startswith("ValueError: a bug\nTraceback (most recent call last)")


@shows("exception, exit", "D")
def test_five_failures_in_a_row_end_the_study_with_one_clear_error(session: Session) -> None:
    controller = session({"faults": {"*": "data"}}, budget={"trials": 50})
    with pytest.raises(DataError) as caught:
        controller.run()
    assert str(caught.value) == "5 trials in a row failed, the last one with: reviews.csv: line 3: no label"
    assert states(controller)["FAIL"] == 5
    assert {record["reason"] for record in records(controller) if record["state"] == "FAIL"} == {
        "DataError: reviews.csv: line 3: no label"
    }


def test_failures_between_successes_do_not_end_the_study(session: Session, tmp_path: Path) -> None:
    with closing(LocalExecutor(workers=1, threads=1, logs=tmp_path / "logs")) as one:
        faults = {str(number): "raise" for number in range(9) if number != 4}
        controller = session({"faults": faults}, using=one, budget={"trials": 9}, run={"train": {"evaluations": 1}})
        assert controller.run() == "all 9 trials are finished"
    assert states(controller) == {"COMPLETE": 1, "FAIL": 8}


@shows("disk full", "F")
def test_a_full_disk_parks_every_trial_and_nothing_is_blamed(session: Session, home: Path) -> None:
    faults = {"faults": {"2": ["well", "full"]}, "pace": 0.02}
    first = session(faults, budget={"trials": 4})
    with pytest.raises(StorageError) as caught:
        first.run()
    assert str(caught.value) == (
        f"{first.places.trial('toy', 2)}: the disk is full; nothing is lost: free some space, and run the same command "
        "again"
    )
    assert caught.value.exit_code == 4
    assert set(states(first)) <= {"COMPLETE", "RUNNING"}
    second = session({}, budget={"trials": 4})
    assert second.run() == "all 4 trials are finished"
    assert {trial.state for trial in check(home, second.spec)} == {TrialState.COMPLETE}


@shows("hang", "E")
def test_a_worker_that_hangs_is_replaced_and_its_segment_done_again(session: Session, home: Path) -> None:
    faults = {"faults": {"1": ["well", "hang"]}}
    with closing(LocalExecutor(workers=2, threads=1, logs=home / "logs", silence=3.0)) as impatient:
        controller = session(faults, budget={"trials": 3}, using=impatient)
        controller.run()
    assert {trial.state for trial in check(home, controller.spec)} == {TrialState.COMPLETE}
    assert calls(controller.places.trial("toy", 1))[:3] == [0, 2, 0], "from its last checkpoint: there was none yet"
