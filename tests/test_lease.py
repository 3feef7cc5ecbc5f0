"""One controller at a time, on a real SQLite and a real PostgreSQL."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from hpo import lease as lease_module
from hpo.lease import Holder, LeaseLostError, LeaseRow, holder_of, leased, take
from hpo.ledger import Ledger, StudyRow
from pipelines.errors import StorageError
from tests.faults import shows

ROOT = Path(__file__).parents[1]
_HOLD = """
import multiprocessing, sys, time
from hpo.ledger import Ledger
from hpo.lease import leased
if __name__ == "__main__":
    ledger = Ledger(sys.argv[1])
    with leased(ledger, "toy"):
        child = multiprocessing.Process(target=time.sleep, args=(60,), daemon=True)
        child.start()
        print(child.pid, flush=True)
        sys.stdin.readline()
        ledger.open_study("toy", {}, spec="{}")
"""


@pytest.fixture
def ledger(storage_url: str) -> Ledger:
    return Ledger(storage_url)


@contextmanager
def another(ledger: Ledger) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the study until it is sent a line, and then writes."""
    command = [sys.executable, "-c", _HOLD, ledger.url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            process.child = int(process.stdout.readline())  # type: ignore[attr-defined]
            yield process
        finally:
            process.kill()


def expire(ledger: Ledger) -> None:
    """As if the holder had given no sign of life for long."""
    with ledger.engine.begin() as connection:
        connection.execute(sa.update(LeaseRow).values(expires=1.0))


def pretend(ledger: Ledger, *, expires_in: float, **changes: str) -> None:
    """A lease of a process on another machine."""
    row = {"study": "toy", "token": 7, "expires": time.time() + expires_in}
    holder = replace(Holder("elsewhere", "another boot", 4711, "123"), **changes)
    take(ledger, "other").release()  # makes the table
    with ledger.engine.begin() as connection:
        connection.execute(sa.insert(LeaseRow).values({**row, "holder": json.dumps(asdict(holder))}))


def test_a_second_controller_is_told_who_holds_the_study(ledger: Ledger) -> None:
    with another(ledger) as holder:
        with pytest.raises(StorageError) as caught, leased(ledger, "toy"):
            pass
        assert str(caught.value).startswith(
            f"study 'toy' is being run by process {holder.pid} on {os.uname().nodename} (last sign of life "
        )
        assert str(caught.value).endswith(" s ago); wait for it, or stop it with Ctrl-C")
        assert caught.value.exit_code == 4
        with leased(ledger, "another"):
            pass


def test_a_killed_holder_frees_the_study_at_once(ledger: Ledger) -> None:
    with another(ledger) as holder:
        holder.kill()
        holder.wait()
        with leased(ledger, "toy") as mine:
            assert mine.token == 2


def test_a_study_is_free_again_after_an_error(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), leased(ledger, "toy"):
        1 / 0  # noqa: B018
    assert holder_of(ledger, "toy") is None
    with leased(ledger, "toy"), leased(ledger, "another"):
        found = holder_of(ledger, "toy")
        assert found is not None
        assert found.pid == os.getpid()


def test_a_childs_life_does_not_hold_the_study(ledger: Ledger) -> None:
    with leased(ledger, "toy"):
        child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,), daemon=True)
        child.start()
    try:
        with leased(ledger, "toy"):
            assert child.is_alive()
    finally:
        child.kill()
        child.join()


@shows("SIGSTOP past the lease", "E")
def test_a_stopped_holder_keeps_the_study_until_its_lease_is_over_and_then_writes_nothing(ledger: Ledger) -> None:
    with another(ledger) as holder:
        worker = psutil.Process(holder.child)  # type: ignore[attr-defined]
        holder.send_signal(signal.SIGSTOP)
        psutil.Process(holder.pid).status()
        with pytest.raises(StorageError, match="is being run by process"):
            take(ledger, "toy")
        expire(ledger)
        with leased(ledger, "toy"):
            assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "it would write beside ours"
            holder.send_signal(signal.SIGCONT)
            _, errors = holder.communicate("go on\n", timeout=30)
        assert f"study 'toy' was taken over by process {os.getpid()} on " in errors
        assert ledger.study("toy") is None, "its write was not committed"


def test_a_living_holder_keeps_the_study_whatever_the_clock_says(ledger: Ledger) -> None:
    with another(ledger):
        expire(ledger)
        with pytest.raises(StorageError, match="is being run by process"):
            take(ledger, "toy")


def test_of_a_process_on_another_machine_only_time_can_tell(ledger: Ledger) -> None:
    pretend(ledger, expires_in=20)
    with pytest.raises(StorageError) as caught:
        take(ledger, "toy")
    assert "is being run by process 4711 on elsewhere (last sign of life 1" in str(caught.value)
    expire(ledger)
    assert take(ledger, "toy").token == 8


def test_a_process_of_an_earlier_start_of_this_machine_is_gone(ledger: Ledger) -> None:
    pretend(ledger, expires_in=20, host=os.uname().nodename)
    with pytest.raises(StorageError):  # another boot of a machine of this name: only time can tell
        take(ledger, "toy")
    again = Holder(os.uname().nodename, lease_module._boot(), os.getpid(), "0")
    assert again.is_gone, "a process of this number lives, but began at another time"
    assert not lease_module._myself().is_gone


def test_a_guarded_transaction_of_a_superseded_holder_is_rolled_back(ledger: Ledger) -> None:
    other = sa.create_engine(ledger.url)
    first = take(ledger, "toy")
    row = sa.insert(StudyRow).values(name="toy", created="now", definition="{}", spec="{}", seconds=0.0)
    with first.guard(other):
        with other.begin() as connection:
            connection.execute(row.values(name="before"))
        first.release()
        second = take(ledger, "toy")
        with pytest.raises(LeaseLostError, match="study 'toy' was taken over by process"), other.begin() as connection:
            connection.execute(row)
    assert [study.name for study in ledger.studies()] == ["before"]
    second.check()
    second.renew()
    with pytest.raises(LeaseLostError):
        first.check()
    with pytest.raises(LeaseLostError):
        first.renew()
    first.release()
    second.check()


def test_signs_of_life_are_given_while_it_is_held(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_BEAT_SECONDS", 0.05)
    with leased(ledger, "toy"):
        expire(ledger)
        time.sleep(0.5)
        with ledger.engine.connect() as connection:
            assert connection.scalar(sa.select(LeaseRow.expires)) > time.time()


@shows("two controllers", "A")
def test_of_many_that_come_at_once_one_gets_it(storage_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def attempt(_: int) -> int:
        try:
            return take(Ledger(storage_url), "toy").token
        except StorageError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [0] * 7 + [1]


def test_a_database_that_stays_locked_is_one_line(tmp_path: Path) -> None:
    """As by a process that was stopped while it wrote."""
    ledger = Ledger(f"sqlite:///{tmp_path}/studies.db")
    sa.event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50"))
    ledger.engine.dispose()
    other = sqlite3.connect(tmp_path / "studies.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError) as caught:
        take(ledger, "toy")
    assert str(caught.value) == f"storage sqlite:///{tmp_path}/studies.db: database is locked"
    other.close()
