"""Workers that die or hang while the controller is at one phase or another; disks, trackers and databases that fail."""

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hpo.executors.local import LocalExecutor
from hpo.launch import _PATIENCE_SECONDS
from hpo.ledger import SegmentRow
from hpo.spec import StudySpec
from hpo.study import Controller
from pipelines.connection import connect
from pipelines.mirror import MirrorThread
from pipelines.tracking import Tracker
from tests import strikes
from tests.crashes import SPEC, check
from tests.faults import moments, shows
from tests.stub import a_controller, a_spec, calls, instruct


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    with closing(LocalExecutor(workers=2, threads=1, logs=tmp_path_factory.mktemp("logs"), silence=3.0)) as shared:
        yield shared


@pytest.fixture(scope="module", autouse=True)
def quick(empty_mlflow: Path) -> Iterator[None]:
    """No waiting for the disk, and short pauses of the mirror: the kernel does not crash in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.mirror._PAUSE_SECONDS", 0.1)
        patch.setattr("pipelines.mirror._RETRY_SECONDS", (0.1, 0.5))
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def home(tmp_path: Path, empty_mlflow: Path) -> Path:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return tmp_path


def run(home: Path, executor: LocalExecutor, spec: StudySpec = SPEC, **changes: Any) -> Controller:
    """A session whose runs are sent by the mirror's thread, to the end."""
    tracker = Tracker(connect(f"sqlite:///{home}/mlflow.db"), artifacts=home / "artifacts")
    tracker.open_study(spec.name, description="", params={}, tags={})
    mirror = MirrorThread(tracker.sync_trial)
    controller = a_controller(spec, home, executor, mirror=mirror, **changes)
    controller.run()
    assert mirror.close(patience=_PATIENCE_SECONDS)
    tracker.close_study(status="FINISHED", metrics={}, tags={})
    return controller


def kill_workers(executor: LocalExecutor) -> None:
    for seat in executor._seats:
        if seat._process is not None:
            seat._process.kill()


@pytest.mark.parametrize("phase", moments("SIGKILL worker", "BCGHI"))
def test_workers_that_are_killed_while_the_controller_is_busy_cost_nothing(
    home: Path, executor: LocalExecutor, phase: str
) -> None:
    spec, killed = a_spec(budget={"trials": 6}), list[str]()
    instruct(home / "work" / "toy", pace=0.05)
    undo = strikes.strike(phase, lambda: (kill_workers(executor), killed.append(phase))[0])
    try:
        controller = run(home, executor, spec)
    finally:
        undo()
    assert killed == [phase]
    with controller.ledger.engine.connect() as connection:
        lost = connection.scalars(sa.select(SegmentRow.trial).where(SegmentRow.outcome == "lost")).all()
    assert lost, "a segment was lost, and done again"
    check(home, spec)


@shows("SIGKILL worker", "D")
@shows("hang", "D")
@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_a_worker_that_dies_or_hangs_while_it_writes_the_cache_leaves_nothing_that_is_read(
    home: Path, executor: LocalExecutor, fault: str
) -> None:
    instruct(home / "work" / "toy", faults={"*": [fault]}, at="cache")
    controller = run(home, executor)
    assert (home / "cache/encoded/stub/rows").read_text() == "encoded"
    assert not list(home.glob("cache/**/.*.tmp"))
    assert len(calls(controller.trials.directory(0))) >= 2, "the first one was in vain"
    check(home)


@shows("SIGKILL worker", "F")
def test_a_worker_that_is_killed_as_it_commits_goes_on_from_there(home: Path, executor: LocalExecutor) -> None:
    instruct(home / "work" / "toy", faults={"0": ["well", "kill"]}, at="commit")
    controller = run(home, executor, a_spec(budget={"trials": 1}))
    assert calls(controller.trials.directory(0)) == [0, 2, 3, 4, 6], "no step since the checkpoint is done twice"


@pytest.mark.parametrize("phase", moments("disk full", "GI"))
def test_a_disk_that_is_full_while_the_tracker_writes_holds_nobody_up(
    home: Path, executor: LocalExecutor, phase: str
) -> None:
    struck: list[str] = []

    def refuse() -> None:
        struck.append(phase)
        raise OSError(errno.ENOSPC, "No space left on device")

    undo = [strikes.strike(phase, refuse, number=number) for number in (1, 2, 3)]
    try:
        run(home, executor)
    finally:
        for one in reversed(undo):
            one()
    assert len(struck) == 3
    check(home)


@shows("database away", "C")
def test_runs_that_cannot_be_made_while_mlflows_database_is_locked_are_made_afterwards(
    home: Path, executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(home / "mlflow.db", check_same_thread=False)
    instruct(home / "work" / "toy", pace=0.05)
    failed: list[str] = []
    monkeypatch.setattr("pipelines.mirror.log.warning", lambda _, text: failed.append(text))

    def impatient(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    def lock() -> None:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1.5, other.rollback).start()

    undo = strikes.strike("C", lock, number=1)
    sa.event.listen(sa.Engine, "before_cursor_execute", impatient, retval=True)
    try:
        run(home, executor)
    finally:
        undo()
        sa.event.remove(sa.Engine, "before_cursor_execute", impatient)
    assert any("database is locked" in text for text in failed)
    check(home)


@shows("tracker away", "EH")
def test_a_study_whose_tracker_is_away_from_beginning_to_end_is_shown_afterwards(
    home: Path, executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, refused, real = [True], [0], Tracker.sync_trial

    def sync(self: Tracker, directory: Path) -> str:
        refused[0] += away[0]
        if away[0]:
            raise ConnectionError("refused")
        return real(self, directory)

    def look(controller: Controller) -> None:
        away[0] = len(controller.trials.ended) < 3

    monkeypatch.setattr(Tracker, "sync_trial", sync)
    instruct(home / "work" / "toy", pace=0.03)
    run(home, executor, show=look)
    assert refused[0] >= 2
    assert not away[0]
    check(home)


AT = {"D": "cache", "F": "commit", "I": "finish"}


def run_struck(home: Path, executor: LocalExecutor, *, phase: str, fault: str) -> Controller:
    """A study of which one trial's worker meets a fault at a phase, once: whoever writes the cache, else the first."""
    before = ["well"] * {"D": 0, "F": 1, "I": 3}[phase]
    instruct(home / "work" / "toy", faults={"*" if phase == "D" else "0": [*before, fault]}, at=AT[phase])
    controller = run(home, executor, a_spec(budget={"trials": 3}))
    again = [trial for trial in range(3) if len(calls(controller.trials.directory(trial))) > 4]
    assert again == [0] or (phase == "D" and again), "it was struck"
    return controller


@pytest.mark.long
@pytest.mark.parametrize("phase", moments("memory limit", "DFI"))
def test_a_worker_that_the_kernel_kills_for_its_memory_is_replaced(
    home: Path, executor: LocalExecutor, phase: str
) -> None:
    run_struck(home, executor, phase=phase, fault="swell")
    check(home, a_spec(budget={"trials": 3}))


@pytest.mark.long
@pytest.mark.parametrize("phase", moments("hang", "FI"))
def test_a_worker_that_hangs_at_its_checkpoint_or_at_its_end_is_replaced(
    home: Path, executor: LocalExecutor, phase: str
) -> None:
    run_struck(home, executor, phase=phase, fault="hang")
    check(home, a_spec(budget={"trials": 3}))


@pytest.mark.long
@pytest.mark.parametrize("phase", moments("exception, exit", "FI"))
def test_a_worker_that_exits_at_its_checkpoint_or_at_its_end_is_replaced(
    home: Path, executor: LocalExecutor, phase: str
) -> None:
    run_struck(home, executor, phase=phase, fault="exit")
    check(home, a_spec(budget={"trials": 3}))


@pytest.mark.long
@shows("exception, exit", "G")
def test_an_error_of_the_tracker_that_nobody_expected_is_tried_again(home: Path, executor: LocalExecutor) -> None:
    def fail() -> None:
        struck.append(1)
        raise RuntimeError("a bug of the tracker")

    struck: list[int] = []
    undo = strikes.strike("G", fail)
    try:
        run(home, executor)
    finally:
        undo()
    assert struck == [1]
    check(home)
