"""What was decided about registered models, and who was champion when and why."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from hpo.ledger import Ledger, Table, created

PROMOTED, ROLLBACK, FORCED, OUTSIDE = "promoted", "rollback", "forced", "outside"
"""Why a reign began. `outside`: the alias was moved by other hands, and was found there."""


class DecisionRow(Table):
    """One decision about a registered model's alias."""

    __tablename__ = "hpo_decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(80))
    key: Mapped[str] = mapped_column(sa.String(200))
    """Which trained model it was about."""
    at: Mapped[str] = mapped_column(sa.String(40))
    decision: Mapped[str] = mapped_column(sa.Text)
    """The whole decision as JSON."""
    __table_args__ = (sa.UniqueConstraint("model", "key"),)


class ReignRow(Table):
    """One version's time as champion, from its beginning on; it ends where the next one begins."""

    __tablename__ = "hpo_reigns"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(80))
    version: Mapped[str | None] = mapped_column(sa.String(20))
    """None: the alias was deleted."""
    previous: Mapped[str | None] = mapped_column(sa.String(20))
    """The version whose reign ended; None where there was none."""
    kind: Mapped[str] = mapped_column(sa.String(20))
    """`promoted`, `rollback`, `forced` or `outside`."""
    why: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[str] = mapped_column(sa.String(40))
    key: Mapped[str] = mapped_column(sa.String(200))
    """Which decision it rests on; empty where it rests on none."""
    done: Mapped[bool]
    """The alias was moved and read back. False: it is to be moved, and a kill may have come in between."""
    __table_args__ = (sa.Index("hpo_reigns_by_model", "model"),)

    def as_row(self) -> dict[str, Any]:
        """For programs: plain values by name."""
        names = ("at", "version", "previous", "kind", "why", "key", "done")
        return {name: getattr(self, name) for name in names}


class History:
    """Reads and writes the two tables; every method is one transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine
        created(lambda: Table.metadata.create_all(ledger.engine))

    def decision(self, model: str, key: str) -> dict[str, Any] | None:
        """The decision about this trained model, or None."""
        with Session(self._engine) as session:
            row = session.scalar(sa.select(DecisionRow).filter_by(model=model, key=key))
            return json.loads(row.decision) if row else None

    def decisions(self, model: str | None = None) -> list[DecisionRow]:
        """All decisions, or those about one model, oldest first."""
        return self._rows(DecisionRow, model)

    def reigns(self, model: str | None = None) -> list[ReignRow]:
        """All reigns, or those of one model, oldest first."""
        return self._rows(ReignRow, model)

    def last(self, model: str) -> ReignRow | None:
        """The reign that began last, or None."""
        return next(reversed(self.reigns(model)), None)

    def models(self) -> list[str]:
        """Names of all models that were ever decided about."""
        return sorted({row.model for row in self.decisions()} | {row.model for row in self.reigns()})

    def decide(self, *, model: str, key: str, decision: Mapping[str, Any], reign: ReignRow | None = None) -> None:
        """Record a decision, in the place of an earlier one about the same trained model, and the reign it begins.

        Both or neither: a decision that makes a champion is never without its reign.
        """
        with Session(self._engine) as session, session.begin():
            row = session.scalar(sa.select(DecisionRow).filter_by(model=model, key=key))
            if row is None:
                row = DecisionRow(model=model, key=key)
                session.add(row)
            row.at, row.decision = now(), json.dumps(decision)
            if reign is not None:
                session.add(reign)

    def begin(self, reign: ReignRow) -> None:
        """Record a reign that no decision begins."""
        with Session(self._engine) as session, session.begin():
            session.add(reign)

    def close(self, model: str) -> None:
        """The alias was moved as the model's last reign says, and read back."""
        with Session(self._engine) as session, session.begin():
            session.execute(sa.update(ReignRow).filter_by(model=model).values(done=True))

    def _rows(self, table: type[Any], model: str | None) -> list[Any]:
        chosen = sa.select(table).order_by(table.id)
        with Session(self._engine, expire_on_commit=False) as session:
            return list(session.scalars(chosen if model is None else chosen.filter_by(model=model)))


def a_reign(model: str, *, version: str | None, previous: str | None, kind: str, why: str, key: str = "") -> ReignRow:
    """A reign that begins now; what other hands did is done already."""
    done = kind == OUTSIDE
    return ReignRow(model=model, version=version, previous=previous, kind=kind, why=why, at=now(), key=key, done=done)


def predecessor(reigns: Sequence[ReignRow]) -> str | None:
    """The version that a rollback goes back to; None where the last champion had no predecessor.

    Reigns are a stack: whoever is promoted comes on top, a rollback takes off the top. So a second rollback goes back
    one further, and a version that was rolled back is not returned to.
    """
    stack: list[str] = []
    for reign in reigns:
        if reign.kind == ROLLBACK:
            while stack and stack[-1] != reign.version:
                stack.pop()
        if reign.version is not None and stack[-1:] != [reign.version]:
            stack.append(reign.version)
    deposed = bool(reigns) and reigns[-1].version is None
    return next(iter(stack[-1:] if deposed else stack[-2:-1]), None)


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
