"""A study may be stopped or killed anywhere: the next session ends as if nothing had happened."""

import random
import shutil
import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from hpo import planning
from hpo import trials as trials_module
from hpo.executors.local import LocalExecutor
from hpo.study import Controller
from hpo.trials import Trials
from pipelines.journal import read_journal
from tests.faults import shows
from tests.stub import Silent, a_spec, calls, instruct

from .checks import Session, check, records, run_apart, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


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
