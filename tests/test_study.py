import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from hpo import meter as meter_module
from hpo import planning
from hpo import trials as trials_module
from hpo.estimate import Prospect
from hpo.executors import Executor
from hpo.executors.local import LocalExecutor
from hpo.lease import take
from hpo.ledger import Ledger
from hpo.listing import one_trial
from hpo.listing import trials as trial_rows
from hpo.machine import GIB
from hpo.spec import StudySpec
from hpo.storage import best_trial, open_storage
from hpo.study import Controller
from hpo.trials import Trials
from pipelines.cost import Law
from pipelines.errors import ConfigError, DataError, StorageError
from pipelines.files import read_json
from pipelines.journal import read_journal
from pipelines.notes import add_note
from tests.costs import a_cost, points
from tests.faults import shows
from tests.stub import Silent, a_controller, a_spec, calls, instruct

ROOT = Path(__file__).parents[1]
Session = Callable[..., Controller]


pytestmark = pytest.mark.usefixtures("quick_sqlite")


@pytest.fixture(scope="module")
def empty_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with Optuna's tables, made once."""
    path = tmp_path_factory.mktemp("storage") / "studies.db"
    open_storage(f"sqlite:///{path}")
    return path


@pytest.fixture
def home(tmp_path: Path, empty_storage: Path) -> Path:
    shutil.copy(empty_storage, tmp_path / "studies.db")
    return tmp_path


@pytest.fixture
def session(home: Path, executor: LocalExecutor) -> Session:
    """Open a session of a study in this test's home; orders go to the stub."""

    def start(orders: dict[str, Any] | None = None, /, *, using: Executor = executor, **changes: Any) -> Controller:
        given = {
            key: changes.pop(key) for key in ("mirror", "show", "precision", "prospect", "compiled") if key in changes
        }
        spec = a_spec(**changes)
        if orders is not None:
            instruct(home / "work" / spec.name, **orders)
        return a_controller(spec, home, using, **given)

    return start


def records(controller: Controller) -> list[dict[str, Any]]:
    """Every trial's record, in order."""
    found = sorted(controller.places.study(controller.spec.name).glob("trial-*/trial.json"))
    return [read_json(path) for path in found]


def states(controller: Controller) -> Counter[str]:
    return Counter(trial.state.name for trial in controller.study.get_trials())


def check(home: Path, spec: StudySpec) -> list[optuna.trial.FrozenTrial]:
    """The invariants of a study that is over, over Optuna's storage, the ledger and the disk; returns its trials."""
    study = optuna.load_study(study_name=spec.name, storage=open_storage(f"sqlite:///{home}/studies.db"))
    trials = study.get_trials()
    assert sum(trial.state.is_finished() for trial in trials) == spec.budget.trials == len(trials)
    best = best_trial(study)
    for trial in trials:
        directory = home / "work" / spec.name / f"trial-{trial.number:05d}"
        record = read_json(directory / "trial.json")
        assert (record["number"], record["state"]) == (trial.number, trial.state.name)
        assert record["values"] == trial.values
        assert record["reason"] == trial.user_attrs.get("reason")
        assert record["params"]["train.learning_rate"] == trial.params["train.learning_rate"]
        for kind in ("step", "evaluation"):
            steps = [entry["step"] for entry in read_journal(directory / "progress.jsonl") if entry["kind"] == kind]
            assert steps == sorted(set(steps))
            if trial.state == TrialState.COMPLETE:
                assert steps == (list(range(1, 9)) if kind == "step" else [2, 4, 6, 8])
        if trial.state == TrialState.COMPLETE:
            assert trial.intermediate_values == pytest.approx(
                {32 * part: trial.values[0] * (4 + part) / 8 for part in range(1, 5)}
            )
        assert (directory / "model").exists() == (best is not None and trial.number == best.number)
        assert not (directory / "checkpoints").exists()
    assert list(home.glob("**/*.tmp")) == []
    ledger = Ledger(f"sqlite:///{home}/studies.db")
    assert all(ledger.trial_seconds(spec.name, trial.number)["wall"] > 0 for trial in trials)
    return trials


def test_a_study_has_exactly_its_trials_and_each_is_one_thing_everywhere(session: Session, home: Path) -> None:
    controller = session(budget={"trials": 5})
    assert controller.run() == "all 5 trials are finished"
    trials = check(home, controller.spec)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert trials[0].params == {"train.learning_rate": 1e-4}, "the known-good default comes first"
    for trial, record in zip(trials, records(controller), strict=True):
        assert record["study"] == "toy"
        assert record["objective"] == ["accuracy"]
        assert record["searched"] == ["train.learning_rate"]
        assert record["scores"] == pytest.approx(
            {"accuracy": trial.values[0], "log_loss": 1 - trial.values[0], "latency_ms": 1.0, "parameters": 22.0}
        )
        assert record["seconds"]["train"] == pytest.approx(0.04)
        assert record["started"] <= record["updated"]
        assert calls(controller.places.trial("toy", trial.number)) == [0, 2, 4, 6], "each stage once, from memory"


def test_a_finished_study_is_not_trained_again(session: Session, home: Path) -> None:
    session(budget={"trials": 2}).run()
    before = {path: path.read_bytes() for path in home.glob("work/**/trial.json")}
    again = session(budget={"trials": 2})
    assert again.run() == "all 2 trials are finished"
    assert {path: path.read_bytes() for path in home.glob("work/**/trial.json")} == before
    more = session(budget={"trials": 3})
    more.run()
    assert len(check(home, more.spec)) == 3


def test_every_trial_is_shown_to_the_mirror_after_it_ended(session: Session) -> None:
    class Reader(Silent):
        """Reads at once what a mirror reads later."""

        def changed(self, directory: Path) -> None:
            seen.setdefault(directory.name, []).append(read_json(directory / "trial.json")["state"])

    seen: dict[str, list[str]] = {}
    session(budget={"trials": 2}, mirror=Reader()).run()
    assert {name: states[-1] for name, states in seen.items()} == {"trial-00000": "COMPLETE", "trial-00001": "COMPLETE"}
    assert all(states[0] == "RUNNING" for states in seen.values())


def test_a_later_session_shows_the_mirror_what_it_may_have_missed(session: Session) -> None:
    session(budget={"trials": 2}).run()
    mirror = Silent()
    controller = session(budget={"trials": 2}, mirror=mirror)
    controller.run()
    assert mirror.shown == [controller.places.trial("toy", number) for number in (0, 1)]


def test_the_pruner_stops_what_is_behind(session: Session, home: Path) -> None:
    changes = {"pruner": {"name": "threshold", "options": {"lower": 0.55}}, "budget": {"trials": 2}}
    space = {"train.learning_rate": [1e-4, 1e-2]}  # at most 1.0 and 0.6
    controller = session(**changes, sampler="grid", space=space)
    controller.run()
    for trial in controller.study.get_trials():
        if trial.params["train.learning_rate"] == 1e-4:
            assert (trial.state, trial.values) == (TrialState.COMPLETE, [1.0])
        else:
            assert (trial.state, trial.values) == (TrialState.PRUNED, [pytest.approx(0.375)])
            assert list(trial.intermediate_values) == [32]
            assert trial.user_attrs["reason"] == "pruned: behind the others"
            record = records(controller)[trial.number]
            assert (record["state"], record["reason"]) == ("PRUNED", "pruned: behind the others")
            assert record["scores"]["accuracy"] == pytest.approx(0.375)
    assert states(controller) == {"COMPLETE": 1, "PRUNED": 1}


def test_what_cannot_fit_into_memory_is_refused_and_the_sampler_is_told(session: Session, home: Path) -> None:
    space = {"model.name": ["small", "large"]}  # a model's weights decide what a single row needs
    costs = {"small": a_cost(), "large": a_cost(memory=points(Law(40 * GIB, 0.0, 0.0)))}
    controller = session(
        budget={"trials": 2}, space=space, sampler="brute_force", prospect=Prospect(costs, each=8 * GIB, whole=16 * GIB)
    )
    controller.run()
    trials = {trial.params["model.name"]: trial for trial in controller.study.get_trials()}
    assert trials["small"].state == TrialState.COMPLETE
    assert trials["small"].constraints == {}
    refused = trials["large"]
    assert refused.state == TrialState.PRUNED
    assert refused.constraints == {"memory_gib": pytest.approx(24.0)}
    assert refused.user_attrs["reason"] == "infeasible: needs about 40.0 GiB, this machine has 16.0 GiB"
    assert records(controller)[refused.number]["reason"] == refused.user_attrs["reason"]
    assert calls(controller.places.trial("toy", refused.number)) == [], "no worker has ever seen it"


def test_a_batch_that_does_not_fit_is_cut_and_a_resumed_trial_keeps_its_cut(session: Session) -> None:
    space = {"train.batch_size": [64]}
    tight = Prospect({"minilm": a_cost()}, each=1.5 * GIB, whole=3.0 * GIB)
    controller = session({"wait_at": 1}, budget={"trials": 1}, space=space, prospect=tight)
    threading.Timer(1.5, controller.request_stop, [signal.SIGINT]).start()
    controller.run()
    assert states(controller) == {"RUNNING": 1}
    roomy = Prospect(tight.costs, each=100 * GIB, whole=100 * GIB)
    again = session({}, budget={"trials": 1}, space=space, prospect=roomy)
    again.run()
    (record,) = records(again)
    assert record["state"] == "COMPLETE"
    assert (record["params"]["train.batch_size"], record["params"]["train.micro_batch_size"]) == (64, 16)


def test_a_trials_record_has_its_predicted_seconds_beside_the_real_ones(session: Session) -> None:
    controller = session(budget={"trials": 1}, prospect=Prospect({"minilm": a_cost()}, each=GIB * 99, whole=GIB * 99))
    controller.run()
    (record,) = records(controller)
    assert record["seconds"]["train"] == pytest.approx(0.04)
    assert record["predicted"].keys() == {"prepare", "train", "evaluate", "finish"}
    assert record["predicted"]["train"] > 0
    unknown = session(name="unknown", budget={"trials": 1})
    unknown.run()
    assert records(unknown)[0]["predicted"] == {}


@pytest.mark.parametrize(("run", "expected"), [({}, "on"), ({"train": {"compile": "off"}}, "off")])
def test_what_was_chosen_about_compiling_is_in_every_trial_that_left_it_open(
    run: dict[str, Any], expected: str, session: Session
) -> None:
    controller = session(budget={"trials": 1}, run=run, compiled={"minilm": "on", "bert": "off"})
    controller.run()
    assert records(controller)[0]["params"]["train.compile"] == expected


def test_what_befell_a_trial_stands_in_its_record(session: Session) -> None:
    controller = session(budget={"trials": 1})
    directory = controller.places.trial("toy", 0)
    directory.mkdir(parents=True)
    add_note(directory, "memory ran out at step 2: micro-batches of 8 from there")
    controller.run()
    assert records(controller)[0]["notes"] == ["memory ran out at step 2: micro-batches of 8 from there"]
    assert one_trial(controller.places, "toy", 0)["notes"] == records(controller)[0]["notes"]


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


def test_minutes_end_a_study_and_what_is_unfinished_is_pruned(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "_BEAT_SECONDS", 0.1)
    controller = session({"pace": 0.25}, budget={"trials": 100, "minutes": 0.02})
    assert controller.run() == "the 0.02 minutes are used up"
    assert set(states(controller)) <= {"COMPLETE", "PRUNED"}
    unfinished = [record for record in records(controller) if record["state"] == "PRUNED"]
    assert unfinished
    assert {record["reason"] for record in unfinished} == {"budget: the 0.02 minutes are used up"}
    assert 1.2 <= controller.ledger.add_seconds("toy", 0.0) < 10


def test_minutes_count_over_all_sessions(session: Session) -> None:
    controller = session(budget={"trials": 100, "minutes": 5})
    controller.ledger.add_seconds("toy", 300)
    again = session(budget={"trials": 100, "minutes": 5})
    assert again.run() == "the 5 minutes are used up"
    assert states(again) == {"WAITING": 1}


@shows("SIGTERM, SIGINT", "E")
def test_a_stop_keeps_everything_and_the_next_session_finishes_exactly_n(session: Session, home: Path) -> None:
    def stop(controller: Controller) -> None:
        if len(controller.trials.ended) == 2 and len(controller.running) == 2:
            controller.request_stop(signal.SIGTERM)

    first = session({"pace": 0.05}, budget={"trials": 5}, show=stop)
    assert first.run() == "stopped on request"
    assert first.signal == signal.SIGTERM
    assert states(first) == {"COMPLETE": 2, "RUNNING": 2}
    assert Counter(record["state"] for record in records(first)) == {"COMPLETE": 2, "INTERRUPTED": 2}
    begun = {record["number"]: calls(first.places.trial("toy", record["number"])) for record in records(first)}

    second = session({"pace": 0.0}, budget={"trials": 5})
    assert second.run() == "all 5 trials are finished"
    trials = check(home, second.spec)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    for record in records(first)[:4]:
        number = record["number"]
        later = calls(second.places.trial("toy", number))[len(begun[number]) :]
        if number in (0, 1):
            assert later == [], "a finished trial is not trained again"
        else:
            assert later[0] > 0, "an interrupted one goes on from its checkpoint"


@pytest.mark.parametrize("objective", [["accuracy", "latency_ms"], "latency_ms", "accuracy"])
def test_an_interrupted_trial_goes_on_at_its_stage(session: Session, objective: Any) -> None:
    """Whatever its objective: what cannot be pruned reports nothing to Optuna, and is not scored out of turn either."""

    def stop(controller: Controller) -> None:
        journal = list(read_journal(controller.places.trial("toy", 0) / "progress.jsonl"))
        if journal and journal[-1]["step"] == 3:
            controller.request_stop(signal.SIGINT)

    changes: dict[str, Any] = {"objective": objective, "budget": {"trials": 1}}
    first = session({"wait_at": 3}, **changes, show=stop)
    first.run()
    assert records(first)[0]["state"] == "INTERRUPTED"
    second = session({}, **changes)
    second.run()
    directory = second.places.trial("toy", 0)
    evaluations = [
        entry["step"] for entry in read_journal(directory / "progress.jsonl") if entry["kind"] == "evaluation"
    ]
    assert evaluations == [2, 4, 6, 8]
    assert calls(directory) == [0, 2, 3, 4, 6]


def test_what_a_kill_left_half_written_is_swept_away(session: Session, home: Path) -> None:
    first = session(budget={"trials": 1})
    first.run()
    directory = first.places.trial("toy", 0)
    (directory / ".trial.json.0a1b2c3d.tmp").write_text('{"half')
    (directory / "checkpoints" / ".step-00000003.0a1b2c3d.tmp").mkdir(parents=True)
    (directory / "model" / "weights.tmp").write_text("not ours to judge")
    nested = directory.parent / ".data.0a1b2c3d.tmp" / ".dataset.json.0a1b2c3d.tmp"
    nested.mkdir(parents=True)
    session(budget={"trials": 1}).run()
    assert not nested.parent.exists()
    assert [path.name for path in directory.rglob("*.tmp")] == ["weights.tmp"]


class CrashError(BaseException):
    """Ends a session as a kill would: nothing after it is done."""


@shows("exception, exit", "H")
@pytest.mark.parametrize("effect", ["suggest", "write_record", "report", "tell", "free_disk", "set_user_attr"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_around_any_effect_leaves_no_trace(
    session: Session, home: Path, monkeypatch: pytest.MonkeyPatch, effect: str, before: bool
) -> None:
    """Each effect of the controller crashes once, before or after it happened; the next session mends it all."""
    owner = {"suggest": planning, "write_record": trials_module, "free_disk": Trials, "tell": optuna.Study}
    target = owner.get(effect, optuna.Trial)
    real, count = getattr(target, effect), [0]

    def crashing(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == 3 and before:
            raise CrashError
        done = real(*args, **kwargs)
        if count[0] == 3:
            raise CrashError
        return done

    faults = {"faults": {"1": "infeasible", "2": ["infeasible"]}}  # the second time, trial 2 would do
    with monkeypatch.context() as patch, closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as doomed:
        patch.setattr(target, effect, crashing)
        with pytest.raises(CrashError):
            session(faults, budget={"trials": 4}, using=doomed).run()
    mirror = Silent()
    controller = session(faults, budget={"trials": 4}, mirror=mirror)
    assert controller.run() == "all 4 trials are finished"
    assert len(check(home, controller.spec)) == 4
    assert {path.name for path in mirror.shown} == {f"trial-{number:05d}" for number in range(4)}


def test_an_unfinished_proposal_is_completed_as_the_uninterrupted_study_would_have(
    session: Session, home: Path, empty_storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "sampler": {"name": "tpe", "options": {"n_startup_trials": 2}},
        "space": {f"train.{name}": {"low": 0.1, "high": 0.9} for name in ("learning_rate", "weight_decay", "beta1")},
        "budget": {"trials": 5},
    }
    with closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as one:
        whole = session(**changes, using=one)
        whole.run()
        expected = [trial.params for trial in whole.study.get_trials()]
        shutil.rmtree(home / "work")
        shutil.copy(empty_storage, home / "studies.db")
        real, count = optuna.Trial._suggest, [0]

        def crashing(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == 3 * 3 + 2:  # within the fourth trial
                raise CrashError
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(optuna.Trial, "_suggest", crashing)
            with pytest.raises(CrashError):
                session(**changes, using=one).run()
        again = session(**changes, using=one)
        assert states(again) == {"COMPLETE": 3, "RUNNING": 1}
        again.run()
    assert [trial.params for trial in again.study.get_trials()] == expected


def run_apart(home: Path, changes: dict[str, Any], *, workers: int) -> "subprocess.Popen[str]":
    """A session in a process of its own."""
    command = [sys.executable, "-m", "tests.stub", str(home), json.dumps(changes), str(workers)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@shows("SIGKILL controller", "E")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_killed_controller_costs_nothing_but_time(
    session: Session, home: Path, empty_storage: Path, executor: LocalExecutor, seed: int
) -> None:
    """SIGKILL at a random moment; the same command again; the trials are those of a study that nobody killed."""
    draw = random.Random(seed)
    changes = {"budget": {"trials": 6}, "seed": seed}
    instruct(home / "work" / "toy", pace=0.02)
    with run_apart(home, changes, workers=2) as controller:
        while not list(home.glob("work/toy/trial-*/calls.txt")):
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 1.0))
        workers = psutil.Process(controller.pid).children(recursive=True)
        controller.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == [], "no worker outlives its controller"
    assert list(home.glob("work/toy/trial-*/calls.txt"))
    assert session(**changes).run() == "all 6 trials are finished"
    trials = check(home, a_spec(**changes))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}

    shutil.rmtree(home / "work")
    shutil.copy(empty_storage, home / "studies.db")
    untroubled = session(**changes)
    untroubled.run()
    expected = [(trial.params, trial.values) for trial in untroubled.study.get_trials()]
    assert [(trial.params, trial.values) for trial in trials] == expected


@pytest.mark.parametrize("sampler", ["grid", "GridSampler", "brute_force", "BruteForce"])
def test_a_sampler_that_enumerates_starts_with_no_defaults(session: Session, sampler: str) -> None:
    controller = session(sampler=sampler, space={"train.learning_rate": [1e-4, 1e-3]})
    assert states(controller) == {}


@pytest.mark.parametrize(("trials", "models", "waiting"), [(4, 2, 2), (1, 2, 1), (4, 1, 1)])
def test_a_study_starts_with_the_defaults_of_its_models_once(
    session: Session, trials: int, models: int, waiting: int
) -> None:
    space = {"model.name": ["bert", "gpt2"][:models], "train.learning_rate": {"low": 1e-6, "high": 1e-2}}
    for _ in range(2):
        controller = session(space=space, budget={"trials": trials})
        assert states(controller) == {"WAITING": waiting}
    assert states(session(name="without", space=space, start_with_defaults=False)) == {}


@shows("changed spec or data", "A")
def test_a_changed_definition_is_refused_with_the_difference(session: Session) -> None:
    session(budget={"trials": 1}).run()
    session(budget={"trials": 2}, pruner="median", description="another", workers={"count": 3})  # may change
    with pytest.raises(ConfigError) as caught:
        session(seed=1, space={"train.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}, objective="macro_f1")
    assert str(caught.value).splitlines()[1:] == [
        "  objective: was [{'metric': 'accuracy', 'direction': None}], is [{'metric': 'macro_f1', 'direction': None}]",
        "  seed: was 0, is 1",
        "  space.train.learning_rate.low: was 1e-06, is 1e-05",
    ]


def test_a_second_controller_is_kept_out(home: Path) -> None:
    instruct(home / "work" / "toy", pace=0.1)
    with run_apart(home, {"budget": {"trials": 20}}, workers=1) as controller:
        while not list(home.glob("work/toy/trial-*/calls.txt")):
            time.sleep(0.02)
        holder = f"{controller.pid} on {os.uname().nodename}"
        with pytest.raises(StorageError, match=f"study 'toy' is being run by process {holder}"):
            take(Ledger(f"sqlite:///{home}/studies.db"), "toy")
        controller.kill()


def test_the_precision_of_the_study_reaches_its_trials(session: Session) -> None:
    controller = session(budget={"trials": 1}, precision="bf16")
    controller.run()
    assert records(controller)[0]["params"]["train.precision"] == "bf16"
    own = session(name="own", budget={"trials": 1}, precision="bf16", run={"train": {"precision": "fp32", "epochs": 1}})
    own.run()
    assert records(own)[0]["params"]["train.precision"] == "fp32"


def test_the_display_sees_the_progress_of_what_runs(session: Session) -> None:
    seen: list[dict[str, float]] = []

    def look(controller: Controller) -> None:
        seen.extend(dict(running.progress) for running in controller.running.values() if running.progress)

    session({"pace": 0.1}, budget={"trials": 1}, show=look).run()
    assert seen
    assert all(progress["total"] == 8 and 1 <= progress["step"] <= 8 for progress in seen)


def test_two_studies_share_a_database(session: Session, home: Path, tmp_path: Path) -> None:
    names = ("left", "right")
    executors = [LocalExecutor(workers=1, threads=1, logs=tmp_path / "logs" / name) for name in names]
    controllers = [
        session(name=name, using=one, budget={"trials": 3}) for name, one in zip(names, executors, strict=True)
    ]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in executors:
        one.close()
    for controller in controllers:
        assert len(check(home, controller.spec)) == 3


# Successive halving: a study of the stub is 128 examples long, with rungs at 14 and 43 of them (steps 1 and 3)

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


def test_training_examples_end_a_study_within_a_trial(session: Session) -> None:
    controller = session({"pace": 0.1}, budget={"trials": 100, "examples": 400})
    assert controller.run() == "the 400 training examples are used up"
    assert states(controller)["RUNNING"] == 0
    seen = controller.meter.progress(finished=0).examples
    assert 400 <= seen <= 400 + 2 * 8 * 16, "no trial began beyond those that ran"
    again = session({}, budget={"trials": 100, "examples": 400})
    assert again.meter.progress(finished=0).examples > 200, "what was reported counts in a later session"


def test_a_study_that_has_converged_says_so(session: Session) -> None:
    stagnation = {"name": "best_value_stagnation", "options": {"max_stagnation_trials": 2}}
    controller = session(budget={"trials": 50, "converged": stagnation})
    assert controller.run() == "converged: best_value_stagnation sees nothing left to gain"
    assert states(controller)["COMPLETE"] in range(4, 7), "the default is the best there is, and comes first"


@pytest.mark.parametrize("name", ["regret_bound", "emmr"])
def test_other_terminators_can_be_chosen(session: Session, name: str) -> None:
    options = {"min_n_trials": 4}
    controller = session(budget={"trials": 6, "converged": {"name": name, "options": options}})
    assert controller.run() in {"all 6 trials are finished", f"converged: {name} sees nothing left to gain"}


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
