"""Faults that strike a study at one moment of its life, in a process of its own (the study is that of `tests.crashes`).

The processes are forks of one that has imported everything, so that each is at work at once.
"""

import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import psutil
import sqlalchemy as sa

from hpo import lease as lease_module
from hpo import trials as trials_module
from hpo.lease import LeaseLostError, take
from hpo.ledger import Ledger
from hpo.spec import StudySpec
from hpo.storage import open_storage
from hpo.trials import Trials
from pipelines import files
from pipelines.connection import connect
from pipelines.errors import StorageError
from pipelines.journal import Journal
from pipelines.tracking import Tracker
from tests import crashes, stub

LOST = 44
"""Exit code of a session that found out that another one had taken over."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.strikes"])
_MOMENTS: dict[str, tuple[Any, str]] = {
    "B": (optuna.Study, "ask"),
    "C": (Tracker, "_trial_run"),
    "D": (files, "_put_in_place"),
    "E": (Journal, "append"),
    "F": (stub, "_commit"),
    "G": (Tracker, "_send_metrics"),
    "H": (optuna.Study, "tell"),
    "I": (Tracker, "_send_end"),
    "record": (Trials, "record"),
    "params": (Tracker, "_log_params"),
    "rename": (Path, "replace"),
    "state": (Tracker, "_set_state"),
}

Fault = Callable[[], None]


def strike(phase: str, fault: Fault, *, number: int = 2) -> Callable[[], None]:
    """Let a fault strike when this process comes to a phase for the so-many-th time; call the result to undo that."""
    owner, name = _MOMENTS[phase]
    real, count = getattr(owner, name), [0]

    def struck(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == number:
            fault()
        return real(*args, **kwargs)

    setattr(owner, name, struck)
    return lambda: setattr(owner, name, real)


def struck_session(home: Path, faults: dict[str, Fault], number: int = 2, spec: StudySpec = crashes.SPEC) -> None:
    """A session that is struck at these phases; the data, written once, has no second time."""
    os.environ["HOME_OF_STRIKES"] = str(home)
    for phase, fault in faults.items():
        strike(phase, fault, number=1 if phase == "D" else number)
    session(home, spec)


def session(home: Path, spec: StudySpec = crashes.SPEC) -> None:
    """A session without waiting for the disk: these faults leave the kernel alone."""
    sa.event.listen(sa.Engine, "connect", _hurry)
    watch_flushes()
    try:
        crashes.session(home, spec)
    except LeaseLostError:
        os._exit(LOST)


def group_session(home: Path, spec: StudySpec) -> None:
    """A session with a worker process, in a process group of its own."""
    os.setpgid(0, 0)
    try:
        stub.main(home, spec, workers=1)
    except LeaseLostError:
        os._exit(LOST)


def _hurry(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def begin(action: Callable[..., None], *args: Any) -> BaseProcess:
    """Start an action in a process of its own."""
    process = _CONTEXT.Process(target=action, args=args)
    process.start()
    return process


def end(process: BaseProcess, *, seconds: float = 60.0) -> int | None:
    """The exit code of a process, once it has ended; the negative number of the signal that ended it."""
    process.join(seconds)
    return process.exitcode


def do(action: Callable[..., None], *args: Any) -> int | None:
    """The exit code of an action in a process of its own."""
    return end(begin(action, *args))


def set_up(home: Path) -> None:
    """Make Optuna's and our own tables."""
    open_storage(f"sqlite:///{home}/studies.db")
    Ledger(f"sqlite:///{home}/studies.db")


def track(home: Path) -> None:
    """Make MLflow's tables."""
    connect(f"sqlite:///{home}/mlflow.db")


def ended_while_it_sets_up(set_up: Callable[[Path], None], home: Path, at: int, fault: Fault) -> None:
    """Set up databases until so many statements changed one."""
    count = [0]

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        count[0] += statement.lstrip().startswith(("CREATE", "INSERT", "ALTER", "UPDATE", "DROP", "DELETE"))
        if count[0] == at:
            fault()

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    set_up(home)


def go_on(process: BaseProcess, *, group: bool = False) -> None:
    """Wake a process that was stopped, or its whole group."""
    assert process.pid is not None
    (os.killpg if group else os.kill)(process.pid, signal.SIGCONT)


def wait_until_stopped(process: BaseProcess) -> None:
    """Until a process was stopped by a signal. Raises `psutil.NoSuchProcess` when it has ended instead."""
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def content(home: Path) -> list[str]:
    """All that a study's storage and ledger hold, but the lease itself, and all records of its trials."""
    with sqlite3.connect(home / "studies.db") as connection:
        rows = [line for line in connection.iterdump() if "hpo_leases" not in line]
    return rows + [file.read_text() for file in sorted(home.glob("work/*/trial-*/*.json"))]


# Faults


def kill_me() -> None:
    """As the kernel, or a person, kills a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_me() -> None:
    """As a batch system, or a shutdown, asks for an end."""
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt_me_twice() -> None:
    """As an impatient person does with Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)  # two that come before the main thread looks are one
    os.kill(os.getpid(), signal.SIGINT)


def stop_me() -> None:
    """As Ctrl-Z, or a laptop's lid."""
    os.kill(os.getpid(), signal.SIGSTOP)


def be_another_controller() -> None:
    """Try to run the study of the home at `HOME_OF_STRIKES`, which this process runs. Ends the process if it may."""
    child = os.fork()
    if child == 0:
        try:
            take(Ledger(f"sqlite:///{os.environ['HOME_OF_STRIKES']}/studies.db"), crashes.SPEC.name)
        except StorageError:
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        os._exit(1)


def shift_clock(seconds: float) -> None:
    """Let every clock that this process reads jump, but the one that only counts: of Python, and of the database."""
    real, real_ns, real_now = time.time, time.time_ns, lease_module._now

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    lease_module._now = lambda engine: real_now(engine) + seconds
    for module in list(sys.modules.values()):
        if module is not sys.modules[__name__] and getattr(module, "datetime", None) is datetime:
            module.datetime = Shifted  # type: ignore[attr-defined]


def clock_forward() -> None:
    """Two hours on."""
    shift_clock(7200.0)


def clock_back() -> None:
    """Two hours back."""
    shift_clock(-7200.0)


def power_fails() -> None:
    """What was not flushed to the disk is gone, as after a power cut; a journal may lose its tail."""
    for file in Path(os.environ["HOME_OF_STRIKES"]).glob("work/**/*.json"):
        if file.stat().st_ino not in _FLUSHED:
            file.write_text("")
    kill_me()


_FLUSHED: set[int] = set()  # inodes


def watch_flushes() -> None:
    """Remember what is flushed, for `power_fails`."""
    os.fsync = lambda descriptor: _FLUSHED.add(os.fstat(descriptor).st_ino)  # type: ignore[assignment]


# Defects: what would be broken if a line of the code were not there


def no_fence() -> None:
    """Whoever lost the lease writes on."""
    lease_module.Lease._check = lambda self, connection: None  # type: ignore[method-assign]


def no_flush() -> None:
    """Files are renamed before their content is on the disk."""
    files._flush = lambda path: None


def no_search_for_runs() -> None:
    """A run is made without looking whether there is one, before or after."""

    def make(self: Tracker, condition: str, *, tags: dict[str, str], started: int | None = None) -> Any:
        return self._client.create_run(self.experiment, start_time=started, tags=dict(tags))

    Tracker._find_run, Tracker._make_run = lambda self, condition: None, make  # type: ignore[method-assign]


def no_memory_of_steps() -> None:
    """A journal takes a step again that stands in it."""
    real = Journal.append

    def append(self: Journal, *args: Any, **kwargs: Any) -> None:
        self._last.clear()
        real(self, *args, **kwargs)

    Journal.append = append  # type: ignore[method-assign]


def no_sweeping() -> None:
    """What a kill left half written stays."""
    files.remove = trials_module.remove = lambda path: None


def no_freeing_of_disk() -> None:
    """Finished trials keep their checkpoints."""
    Trials.free_disk = lambda self, ended: None  # type: ignore[method-assign]


def no_record_of_the_end() -> None:
    """Optuna is told an end that is not in the trial's record."""
    real = Trials.record

    def record(self: Trials, active: Any, *, state: str, **rest: Any) -> None:
        if state in {"RUNNING", "PAUSED", "INTERRUPTED"}:
            real(self, active, state=state, **rest)

    Trials.record = record  # type: ignore[method-assign]


def no_fault() -> None:
    """Nothing happens."""


def defective_session(home: Path, defect: Fault, phase: str, fault: Fault) -> None:
    """A session of broken code that a fault may strike."""
    defect()
    struck_session(home, {phase: fault} if phase else {})
