"""A study whose database goes away: it waits and goes on, and nothing is lost or doubled."""

import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from benchmarks.postgres import Postgres
from hpo import patience
from hpo.executors.local import LocalExecutor
from hpo.ledger import Ledger, SegmentRow
from hpo.patience import in_one_line, is_away, patiently
from hpo.spec import StudySpec
from hpo.storage import engine_of
from hpo.study import Controller
from pipelines.errors import ModelError, StorageError
from tests.faults import shows
from tests.stub import a_controller, a_spec, instruct

HALVING: dict[str, Any] = {"schedule": {"name": "halving", "floor": 10, "factor": 3}, "pruner": None}


def away(text: str = "server closed the connection unexpectedly") -> sa.exc.OperationalError:
    return sa.exc.OperationalError("SELECT 1", {}, Exception(text))


def soon(seconds: float, action: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(seconds, action)
    thread.start()
    return thread


def check(controller: Controller, spec: StudySpec) -> None:
    """Exactly the trials of the study, each finished; each segment entered once."""
    trials = controller.study.get_trials()
    assert [trial.state.is_finished() for trial in trials] == [True] * spec.budget.trials
    with controller.ledger.engine.connect() as connection:
        rows = connection.execute(sa.select(SegmentRow.trial, SegmentRow.step, SegmentRow.outcome, SegmentRow.wall))
        found = [tuple(row) for row in rows]
    assert len(found) == len(set(found))
    assert all(outcome == "done" for _, _, outcome, _ in found)


@shows("database away", "BEH")
@pytest.mark.parametrize("changes", [{}, HALVING])
def test_a_study_lives_through_a_database_that_drops_every_connection(
    postgres: Postgres, executor: LocalExecutor, tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = a_spec(**changes, budget={"trials": 8})
    instruct(tmp_path / "work" / "toy", pace=0.02)
    controller = a_controller(spec, tmp_path, executor, storage=postgres.new_database())
    shaken = [soon(0.3 + 0.4 * index, postgres.drop_connections) for index in range(4)]
    assert controller.run() == "all 8 trials are finished"
    for thread in shaken:
        thread.join()
    check(controller, spec)


@shows("database away", "BEH")
def test_a_study_waits_for_a_database_that_crashes_and_says_so(
    postgres: Postgres, executor: LocalExecutor, tmp_path: Path
) -> None:
    said: list[str] = []
    spec = a_spec(**HALVING, budget={"trials": 6})
    instruct(tmp_path / "work" / "toy", pace=0.05)
    controller = a_controller(spec, tmp_path, executor, storage=postgres.new_database(), say=said.append)
    crashed = soon(0.5, postgres.crash)
    back = soon(3.0, postgres.start)
    assert controller.run() == "all 6 trials are finished"
    crashed.join()
    back.join()
    check(controller, spec)
    assert 1 <= len(said) <= 3, "once, and again where a slow machine takes long to recover"
    for line in said:
        assert line.startswith("storage postgresql+psycopg://postgres@/test_")
        assert line.endswith("; waiting for it, the workers go on")


@shows("hang", "BH")
def test_a_database_that_hangs_is_waited_for(postgres: Postgres, executor: LocalExecutor, tmp_path: Path) -> None:
    spec = a_spec(**HALVING, budget={"trials": 6})
    instruct(tmp_path / "work" / "toy", pace=0.02)
    controller = a_controller(spec, tmp_path, executor, storage=postgres.new_database())
    stopped = soon(0.3, lambda: postgres.signal(signal.SIGSTOP))
    back = soon(2.3, lambda: postgres.signal(signal.SIGCONT))
    began = time.monotonic()
    assert controller.run() == "all 6 trials are finished"
    assert time.monotonic() - began > 2.0
    stopped.join()
    back.join()
    check(controller, spec)


@shows("database away", "BH")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_commit_that_fails_or_whose_reply_is_lost_is_made_good(
    executor: LocalExecutor, tmp_path: Path, lost: str, seed: int
) -> None:
    """Now and then a commit raises; it was rolled back, or stands, and nobody can tell which."""
    spec = a_spec(**HALVING, budget={"trials": 6})
    controller = a_controller(spec, tmp_path, executor)
    count = [7 * seed]

    def disturb(connection: sa.Connection) -> None:
        count[0] += 1
        if count[0] % 17 == 0:
            if lost == "after":
                connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            raise away()

    engines = (engine_of(controller.study), controller.ledger.engine)
    for engine in engines:
        sa.event.listen(engine, "commit", disturb)
    assert controller.run() == "all 6 trials are finished"
    for engine in engines:
        sa.event.remove(engine, "commit", disturb)
    assert count[0] > 90
    check(controller, spec)
    assert sum(trial.state == TrialState.COMPLETE for trial in controller.study.get_trials()) >= 1


@shows("database away", "BH")
def test_a_database_that_is_locked_for_long_is_waited_for(executor: LocalExecutor, tmp_path: Path) -> None:
    spec = a_spec(budget={"trials": 3})
    controller = a_controller(spec, tmp_path, executor)
    other = sqlite3.connect(tmp_path / "studies.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    freed = soon(2.0, other.rollback)
    began = time.monotonic()
    assert controller.run() == "all 3 trials are finished"
    assert time.monotonic() - began > 1.5
    freed.join()
    other.close()
    check(controller, spec)


def test_what_waiting_cannot_mend_is_one_clear_line_without_the_password() -> None:
    def fail() -> None:
        raise away("database or disk is full")

    with pytest.raises(StorageError) as caught:
        patiently(fail, url="postgresql://u:CANARY@h/x", say=lambda _: None)
    assert str(caught.value) == (
        "storage postgresql://u:***@h/x: database or disk is full; nothing is lost: mend that, and run the same "
        "command again"
    )


def test_a_database_that_stays_away_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_SECONDS", 0.3)
    tries = []

    def fail() -> None:
        tries.append(1)
        raise RuntimeError("storage") from away()

    with pytest.raises(StorageError, match="server closed the connection unexpectedly; nothing is lost"):
        patiently(fail, url="sqlite:///s.db", say=lambda _: None)
    assert len(tries) >= 2


def test_errors_of_other_kinds_are_not_tried_again() -> None:
    tries = []

    def fail() -> None:
        tries.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        patiently(fail, url="sqlite:///s.db", say=lambda _: None)
    assert len(tries) == 1
    assert is_away(away())
    assert not is_away(away("no such table: studies"))


def test_a_segment_is_entered_once_however_often_it_is_told(storage_url: str) -> None:
    ledger = Ledger(storage_url)
    row = {"study": "toy", "trial": 1, "attempt": 1, "step": 8, "outcome": "done", "wall": 0.1 + 0.2}
    for _ in range(2):
        ledger.add_segment(**row, seconds={"train": 1.0})
    ledger.add_segment(**{**row, "wall": 0.4}, seconds={"train": 1.0})
    assert ledger.trial_seconds("toy", 1)["wall"] == pytest.approx(0.7)


def test_an_error_of_the_database_at_any_point_of_a_launch_is_one_line() -> None:
    with (
        pytest.raises(StorageError, match="no such table: hpo_studies; nothing is lost"),
        in_one_line("sqlite:///x.db"),
    ):
        raise away("no such table: hpo_studies\nmore of it")


def test_what_says_already_what_is_wrong_is_left_alone() -> None:
    def refused() -> None:
        try:
            raise away()
        except sa.exc.OperationalError as error:
            raise ModelError("no model of ours") from error

    with pytest.raises(ModelError, match="no model of ours"), in_one_line("sqlite:///x.db"):
        refused()
