"""Who runs a study: a lease in the ledger's database, so that one controller at a time writes.

The same lease lets one promoter at a time move a registered model's alias; its name is `model:NAME` then.

Each holder gets a higher token, and every commit of the holder looks at the token in the same transaction (`guard`): a
controller that slept while another took over writes nothing any more. Time is the database's clock, so that machines
need not agree; and of a holder on this machine its process is asked, so that a crash frees the study at once, and no
jump of the clock does.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from hpo.ledger import LeaseRow, Ledger, storage_errors
from pipelines.errors import StorageError
from pipelines.files import digest

LEASE_SECONDS = 30.0  # without a sign of life, after which another machine may take over
_BEAT_SECONDS = 5.0  # between two signs of life
_MODEL = "model:"
_LONGEST_NAME = 80


class LeaseLostError(StorageError):
    """Another controller runs the study now; this one must not write."""


class HeldError(StorageError):
    """Another process holds the lease."""


@dataclass(frozen=True)
class Holder:
    """A process, told apart from any later one of the same number."""

    host: str
    boot: str
    """Which start of the machine."""
    pid: int
    started: str
    """When the process started, in the kernel's own count, which no change of the clock moves."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether this machine can tell if the process lives."""
        return (self.host, self.boot) == (os.uname().nodename, _boot())

    @property
    def is_gone(self) -> bool:
        """The process is known to have ended."""
        return self.is_here and _started(self.pid) != self.started

    @property
    def is_at_work(self) -> bool:
        """The process is known to run: it neither ended nor was stopped."""
        if not self.is_here or self.is_gone:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
        return False


@dataclass(frozen=True)
class Lease:
    """The right to write to a study."""

    ledger: Ledger
    study: str
    token: int

    def renew(self) -> None:
        """Give a sign of life. Raises `LeaseLostError` when another controller has taken over."""
        with self.ledger.engine.begin() as connection:
            mine = (LeaseRow.study == self.study) & (LeaseRow.token == self.token)
            until = _now(self.ledger.engine) + LEASE_SECONDS
            if connection.execute(sa.update(LeaseRow).where(mine).values(expires=until)).rowcount == 0:
                raise self._lost(connection)

    def release(self) -> None:
        """Give it back, if it is still ours."""
        with self.ledger.engine.begin() as connection:
            mine = (LeaseRow.study == self.study) & (LeaseRow.token == self.token)
            connection.execute(sa.update(LeaseRow).where(mine).values(expires=0.0))

    def check(self) -> None:
        """Raise `LeaseLostError` when another controller has taken over."""
        with self.ledger.engine.connect() as connection:
            self._check(connection)

    @contextmanager
    def guard(self, engine: sa.Engine) -> Iterator[None]:
        """Let no transaction of this engine commit once the lease is lost: it raises `LeaseLostError` instead."""
        sa.event.listen(engine, "commit", self._check)
        try:
            yield
        finally:
            sa.event.remove(engine, "commit", self._check)

    def _check(self, connection: sa.Connection) -> None:
        question = sa.select(LeaseRow.token).where(LeaseRow.study == self.study)
        # PostgreSQL: nobody can take over between this look and the commit. SQLite: a writer is alone anyway.
        token = connection.scalar(question.with_for_update(read=True))
        if token != self.token:
            raise self._lost(connection)

    def _lost(self, connection: sa.Connection) -> LeaseLostError:
        held = connection.scalar(sa.select(LeaseRow.holder).where(LeaseRow.study == self.study))
        other = Holder(**json.loads(held)) if held else "nobody"
        return LeaseLostError(
            f"{_named(self.study)} was taken over by {other} while this process gave no sign of life; this one has "
            "stopped, and wrote nothing since"
        )


@contextmanager
def leased(ledger: Ledger, study: str) -> Iterator[Lease]:
    """Hold a study for this process, giving signs of life all the while.

    Raises `HeldError` naming the holder when another process has it.
    """
    lease, over = take(ledger, study), threading.Event()
    heart = threading.Thread(target=_beat, args=(lease, over), name="lease", daemon=True)
    heart.start()
    try:
        with lease.guard(ledger.engine):
            yield lease
    finally:
        over.set()
        heart.join()
        with contextlib.suppress(sa.exc.DBAPIError):  # the database is away: the process's end says as much
            lease.release()


def take(ledger: Ledger, study: str) -> Lease:
    """Become the holder. Raises `HeldError` naming who has it, `StorageError` where the database fails."""
    with storage_errors(ledger.url):
        return _take(ledger, study)


def _take(ledger: Ledger, study: str) -> Lease:
    me = json.dumps(asdict(_myself()))
    for _ in range(20):  # each round that fails, somebody else was quicker
        before, now = _look(ledger, study)
        if before is None:
            values = {"study": study, "token": 1, "holder": me, "expires": now + LEASE_SECONDS}
            with contextlib.suppress(sa.exc.IntegrityError), ledger.engine.begin() as connection:
                connection.execute(sa.insert(LeaseRow).values(values))
                return Lease(ledger, study, 1)
            continue
        _refuse_if_held(before, now=now)
        unchanged = (LeaseRow.study == study) & (LeaseRow.token == before.token) & (LeaseRow.expires == before.expires)
        taken = sa.update(LeaseRow).where(unchanged)
        with ledger.engine.begin() as connection:
            values = {"token": before.token + 1, "holder": me, "expires": now + LEASE_SECONDS}
            if connection.execute(taken.values(values)).rowcount:
                if _is_study(study):
                    _end_workers_of(Holder(**json.loads(before.holder)))
                return Lease(ledger, study, before.token + 1)
    raise HeldError(f"{_named(study)}: others keep taking it; try again")


def name_for(model: str) -> str:
    """The lease of a registered model; it fits into the column, however long the name is."""
    name = f"{_MODEL}{model}"
    return name if len(name) <= _LONGEST_NAME else f"{_MODEL}{digest(model)}"


def _is_study(name: str) -> bool:
    return not name.startswith(_MODEL)  # a study's name has no colon


def _named(name: str) -> str:
    return f"study {name!r}" if _is_study(name) else f"model {name.removeprefix(_MODEL)!r}"


def holder_of(ledger: Ledger, study: str) -> Holder | None:
    """Who runs a study now; None when nobody does."""
    row, now = _look(ledger, study)
    return Holder(**json.loads(row.holder)) if row is not None and _is_held(row, now=now) else None


def held(ledger: Ledger) -> list[str]:
    """All studies that somebody runs now, also those that are only being launched and stand in no other table."""
    with ledger.engine.connect() as connection:
        names = connection.scalars(sa.select(LeaseRow.study)).all()
    return [name for name in names if holder_of(ledger, name) is not None]


def _look(ledger: Ledger, study: str) -> tuple[Any, float]:
    """The lease's row (None: there never was one), and the database's time."""
    with ledger.engine.connect() as connection:
        row = connection.execute(sa.select(LeaseRow.__table__).where(LeaseRow.study == study)).one_or_none()
        return row, float(connection.scalar(sa.select(_now(ledger.engine))) or 0.0)


def _is_held(row: Any, *, now: float) -> bool:
    holder = Holder(**json.loads(row.holder))
    if row.expires == 0 or holder.is_gone:
        return False
    return holder.is_at_work or now < row.expires


def _refuse_if_held(row: Any, *, now: float) -> None:
    if _is_held(row, now=now):
        ago = max(0.0, now - (row.expires - LEASE_SECONDS))
        doing = "run" if _is_study(row.study) else "promoted or rolled back"
        raise HeldError(
            f"{_named(row.study)} is being {doing} by {Holder(**json.loads(row.holder))} (last sign of life "
            f"{ago:.0f} s ago); wait for it, or stop it with Ctrl-C"
        )


def _end_workers_of(holder: Holder) -> None:
    """End what a stopped controller left on this machine: when it goes on, its workers would write beside ours."""
    if not holder.is_here or holder.is_gone or holder.pid == os.getpid():
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = psutil.Process(holder.pid).children(recursive=True)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=5)


def _beat(lease: Lease, over: threading.Event) -> None:
    while not over.wait(_BEAT_SECONDS):
        try:
            lease.renew()
        except LeaseLostError:
            return  # whoever wants to write will find out
        except sa.exc.DBAPIError:
            continue  # the database is away, for everybody


def _now(engine: sa.Engine) -> Any:
    """The database's clock, in seconds."""
    if engine.dialect.name == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
    return sa.func.extract("epoch", sa.func.clock_timestamp()).cast(sa.Float)


def _myself() -> Holder:
    return Holder(os.uname().nodename, _boot(), os.getpid(), _started(os.getpid()))


def _boot() -> str:
    """Names this start of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return str(psutil.boot_time())


def _started(pid: int) -> str:
    """When a process started; empty when there is none of that number, or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if stat[0] in {"Z", "X"} else stat[19]  # fields 3 and 22 of proc(5)
    except OSError:
        with contextlib.suppress(psutil.NoSuchProcess):
            return str(psutil.Process(pid).create_time()) if not Path("/proc/self").exists() else ""
    return ""
