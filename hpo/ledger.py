"""Our own few tables, beside Optuna's in the same database: what a study is, and what it spent."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pipelines.errors import StorageError

Made = TypeVar("Made")


class Table(DeclarativeBase):
    """Base of the ledger's tables; `history.py` and `openings.py` have further ones."""


class StudyRow(Table):
    """One study: its frozen definition and the time it has used."""

    __tablename__ = "hpo_studies"
    name: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    created: Mapped[str] = mapped_column(sa.String(32))
    definition: Mapped[str] = mapped_column(sa.Text)
    """What may not change while the study lives, as JSON by address."""
    spec: Mapped[str] = mapped_column(sa.Text)
    """The whole StudySpec of the last launch, as JSON."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    """Wall-clock seconds over all sessions."""


class SegmentRow(Table):
    """One segment that a worker ran, lost or finished: the spend of a trial."""

    __tablename__ = "hpo_segments"
    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(sa.String(80))
    trial: Mapped[int]
    attempt: Mapped[int]
    """1 for the first try of this segment, more after a worker was lost."""
    step: Mapped[int]
    """Optimizer step reached."""
    outcome: Mapped[str] = mapped_column(sa.String(20))
    """`done`, `interrupted`, `lost` or `error`."""
    wall: Mapped[float]
    """Seconds from submission to answer."""
    seconds: Mapped[str] = mapped_column(sa.Text)
    """Seconds by kind of work, as JSON."""
    __table_args__ = (sa.Index("hpo_segments_by_trial", "study", "trial"),)


class LeaseRow(Table):
    """Who runs a study, or ran it last; see `hpo.lease`."""

    __tablename__ = "hpo_leases"
    study: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    token: Mapped[int]
    """Rises with every holder."""
    holder: Mapped[str] = mapped_column(sa.Text)
    """A `hpo.lease.Holder` as JSON."""
    expires: Mapped[float]
    """Seconds by the database's clock; 0 when the holder gave it back."""


class Ledger:
    """Reads and writes the tables; every method is one transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        with storage_errors(url):
            self.engine = sa.create_engine(url, **engine_options(url))
            created(lambda: Table.metadata.create_all(self.engine))

    def definition(self, name: str) -> dict[str, Any] | None:
        """What may not change in a study; None where there is no such study yet."""
        row = self.study(name)
        return json.loads(row.definition) if row else None

    def open_study(self, name: str, definition: dict[str, Any], *, spec: str) -> None:
        """Register a study, or its new launch."""
        with Session(self.engine) as session, session.begin():
            row = session.get(StudyRow, name)
            if row is None:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                session.add(StudyRow(name=name, created=now, definition=json.dumps(definition), spec=spec, seconds=0.0))
            else:
                row.spec = spec

    def study(self, name: str) -> StudyRow | None:
        """A study's row, or None."""
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get(StudyRow, name)

    def studies(self) -> list[StudyRow]:
        """All studies, oldest first."""
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(sa.select(StudyRow).order_by(StudyRow.created)))

    def add_seconds(self, name: str, seconds: float) -> float:
        """Count wall time; returns the study's new total in seconds."""
        with Session(self.engine) as session, session.begin():
            mine = StudyRow.name == name
            session.execute(sa.update(StudyRow).where(mine).values(seconds=StudyRow.seconds + seconds))
            return session.scalars(sa.select(StudyRow.seconds).where(mine)).one()

    def add_segment(self, **values: Any) -> None:
        """Record one segment; keys are the columns of `SegmentRow`, `seconds` as a dictionary.

        A row that stands there already is the same call, whose answer was lost.
        """
        row = {**values, "seconds": json.dumps(values["seconds"])}
        with Session(self.engine) as session, session.begin():
            if session.scalar(sa.select(SegmentRow.id).filter_by(**row)) is None:
                session.add(SegmentRow(**row))

    def trial_seconds(self, study: str, trial: int) -> dict[str, float]:
        """What a trial has cost: `wall` and seconds by kind of work, lost and repeated segments included.

        A whole transaction: its commit is refused to whoever lost the lease, and what is read here goes into a record.
        """
        total: dict[str, float] = {}
        with Session(self.engine) as session, session.begin():
            of_trial = sa.select(SegmentRow).where(SegmentRow.study == study, SegmentRow.trial == trial)
            for row in session.scalars(of_trial):
                for kind, seconds in (json.loads(row.seconds) | {"wall": row.wall}).items():
                    total[kind] = total.get(kind, 0.0) + seconds
        return total


def engine_options(url: str) -> dict[str, Any]:
    """Engine options that survive what databases do: locks, restarts, dropped connections."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    return {"pool_pre_ping": True}


def created(make: Callable[[], Made]) -> Made:
    """What `make` opens. Processes that create the same tables at the same moment trip over one another: try again."""
    for pause in (0.1, 0.3, 1.0, 3.0):
        try:
            return make()
        except (sa.exc.OperationalError, sa.exc.IntegrityError, sa.exc.ProgrammingError) as error:
            if "already exists" not in str(error.orig) and not isinstance(error, sa.exc.IntegrityError):
                raise
            time.sleep(pause)
    return make()


def printable(url: str) -> str:
    """A database URL with its password hidden, also one that holds `/` or `@` or stands in the query."""
    try:
        sa.make_url(url)
    except sa.exc.ArgumentError:
        return "(not a database URL)"
    hidden = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns a database that does not answer into one line without the password."""
    try:
        yield
    except sa.exc.ArgumentError as error:
        raise StorageError("the storage is not a database URL; for instance sqlite:///mlruns/studies.db") from error
    except (sa.exc.DBAPIError, ImportError, RuntimeError) as error:  # RuntimeError: tables of another Optuna
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StorageError(f"storage {printable(url)}: {cause}") from error
