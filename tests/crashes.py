"""Crashes at every durable effect of a study, as SQLite's own tests do: what is on disk then is all that is left.

An effect is a commit that wrote something, a rename, a removal, or a line of a journal; each one crashes before and
after it happened. Everything runs in one process, which a fork makes cheap: controller, stub trainer, real Optuna
storage, real ledger and real MLflow.
"""

import os
import shutil
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (here once, else in every fork)
import sqlalchemy as sa
import sqlalchemy.orm
from optuna.trial import TrialState
from sqlalchemy.engine.default import DefaultDialect

from hpo.executors import Event
from hpo.launch import _stopping_on_signals
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.spec import StudySpec
from hpo.storage import engine_of
from pipelines.connection import connect
from pipelines.data import save_dataset
from pipelines.files import read_json
from pipelines.journal import Journal, read_journal
from pipelines.tracking import STATUS, Tracker
from tests import tiny
from tests.stub import a_controller, a_spec, train

sa.orm.configure_mappers()  # likewise
CRASHED = 75
DATA = tiny.dataset(sizes={"train": 8, "select": 4, "calibrate": 4, "test": 4})
SPEC = a_spec(schedule={"name": "halving", "floor": 10, "factor": 3}, pruner=None, budget={"trials": 3})


class Inline:
    """An executor of one worker, which is this process."""

    slots, devices = 1, 1

    def __init__(self) -> None:
        self._stopping = False

    def submit(self, task: str, payload: Any, *, key: str) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(train(payload, watch=self))
        except Exception as error:
            future.set_exception(error)
        return future

    def events(self) -> list[Event]:
        return []

    def stop(self) -> None:
        """For the next call: nothing runs between two."""
        self._stopping = True

    def close(self) -> None:
        """There is nothing to end."""

    def stop_requested(self) -> bool:
        return self._stopping

    def tell(self, progress: Any) -> None:
        """Nobody listens."""


class MirrorHere:
    """Shows each change to the tracker at once, so that its effects have a place in the order."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def changed(self, directory: Path) -> None:
        self._tracker.sync_trial(directory)


def session(home: Path, spec: StudySpec = SPEC) -> None:
    """One session of the study, with all that it writes to, as `hpo.launch` puts it together."""
    ledger = Ledger(f"sqlite:///{home}/studies.db")
    with leased(ledger, spec.name) as lease:
        save_dataset(DATA, home / "work" / spec.name / "data")
        client = connect(f"sqlite:///{home}/mlflow.db")
        tracker = Tracker(client, artifacts=home / "artifacts", allowed=lease.check)
        tracker.open_study(spec.name, description="", params={}, tags={})
        controller = a_controller(spec, home, Inline(), mirror=MirrorHere(tracker))
        engines = (engine_of(controller.study), controller.ledger.engine)
        with _stopping_on_signals(controller), lease.guard(engines[0]), lease.guard(engines[1]):
            controller.run()
        lease.check()
        tracker.close_study(status="SCHEDULED" if controller.stopped_on_request else "FINISHED", metrics={}, tags={})


def crash_at(number: int) -> None:
    """End this process at its durable effect of that number, counted from 1, as a kill would."""
    count, written = [0], set[int]()

    def effect() -> None:
        count[0] += 1
        if count[0] == number:
            os._exit(CRASHED)

    def around(owner: Any, name: str, counts: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def crashing(*args: Any, **kwargs: Any) -> Any:
            counted = counts(*args)
            if counted:
                effect()
            done = real(*args, **kwargs)
            if counted:
                effect()
            return done

        setattr(owner, name, crashing)

    def writes(dialect: Any, connection: Any) -> bool:
        known = id(connection.dbapi_connection)
        wrote = known in written
        written.discard(known)
        return wrote

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            written.add(id(cursor.connection))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    around(DefaultDialect, "do_commit", writes)
    around(Path, "replace")
    around(Path, "rename")
    around(shutil, "rmtree", lambda path, *_: Path(path).exists())
    around(Journal, "append")


def crashing_session(home: Path, *, at: int) -> None:
    """A session that ends at its effect of that number, if it comes to it."""
    crash_at(at)
    session(home)


def check(home: Path, spec: StudySpec = SPEC) -> None:
    """Three finished trials; one run for each, with its state and value; every step once; nothing left over."""
    controller = a_controller(spec, home, Inline())
    client = connect(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name(spec.name)
    runs = client.search_runs([experiment.experiment_id])
    trials = controller.study.get_trials()
    assert [trial.state.is_finished() for trial in trials] == [True] * spec.budget.trials
    assert len(runs) == spec.budget.trials + 1, "one run each, and the study's"
    for trial in trials:
        (run,) = [run for run in runs if run.data.tags.get("hpo.trial") == str(trial.number)]
        assert run.info.status == STATUS[trial.state.name]
        if trial.state == TrialState.COMPLETE:
            assert run.data.metrics["objective/accuracy"] == trial.values[0]
        directory = controller.trials.directory(trial.number)
        assert read_json(directory / "trial.json")["state"] == trial.state.name
        steps = [record["step"] for record in read_journal(directory / "progress.jsonl") if record["kind"] == "step"]
        assert steps == list(range(1, len(steps) + 1))
        sent = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(sent) == steps
        assert not (directory / "checkpoints").exists()
    best = max(trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE)
    assert best == 1.0, "the same best trial as without a crash"
    assert not list(home.glob("work/**/.*.tmp"))


def in_child(action: Callable[[], None]) -> int:
    """Run in a fork of this process; returns its exit code, 0 when the action ended without an error."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash_and_mend(template: Path, home: Path, *, at: int, again: int | None = None) -> bool:
    """Crash a fresh study at effect `at` (and its recovery at effect `again`), run it again, and check all.

    False when the study has no effect of that number. Raises `AssertionError` when something is not as it was to be.
    """
    shutil.copytree(template, home)
    crashed = in_child(lambda: crashing_session(home, at=at))
    assert crashed in {0, CRASHED}, f"crash {at}: exit {crashed}"
    if again is not None:
        crashed_again = in_child(lambda: crashing_session(home, at=again))
        assert crashed_again in {0, CRASHED}, f"crash {at}, then {again}: exit {crashed_again}"
    assert in_child(lambda: session(home)) == 0, f"crash {at} then {again}: the next session fails"
    assert in_child(lambda: check(home)) == 0, f"crash {at} then {again}: not as if nothing had happened"
    shutil.rmtree(home)
    return crashed == CRASHED


def a_template(home: Path) -> Path:
    """A home with both databases set up, to be copied: setting them up takes seconds."""
    home.mkdir()

    def set_up() -> None:
        from hpo.storage import open_storage

        open_storage(f"sqlite:///{home}/studies.db")
        Ledger(f"sqlite:///{home}/studies.db")
        connect(f"sqlite:///{home}/mlflow.db")

    assert in_child(set_up) == 0
    return home
