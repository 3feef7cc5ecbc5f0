"""How often test rows were looked at, for which registered model: a further look may decide less."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from hpo.ledger import Ledger, Table, created

PROMOTION, EVALUATE = "promotion", "evaluate"
"""Why test rows are opened."""
_TRIES = 20  # of getting a number: each one that fails, another process has just got it


class OpeningRow(Table):
    """One look of one candidate at the test rows of a split."""

    __tablename__ = "hpo_openings"
    id: Mapped[int] = mapped_column(primary_key=True)
    rows: Mapped[str] = mapped_column(sa.String(64))
    """Digest of the test rows alone; see `pipelines.data.rows_digest`."""
    model: Mapped[str] = mapped_column(sa.String(80))
    number: Mapped[int]
    """Counts the openings of these rows for this model, from 1."""
    key: Mapped[str] = mapped_column(sa.String(200))
    """Which trained model looked."""
    why: Mapped[str] = mapped_column(sa.String(20))
    """`promotion` or `evaluate`."""
    against: Mapped[str] = mapped_column(sa.String(20))
    """The version that it was compared with; empty where there was none."""
    at: Mapped[str] = mapped_column(sa.String(40))
    __table_args__ = (
        sa.UniqueConstraint("rows", "model", "number"),
        sa.UniqueConstraint("rows", "model", "key", "why", "against"),
    )


class Openings:
    """Reads and writes that table; every method is one transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine
        created(lambda: Table.metadata.create_all(ledger.engine))

    def open(self, rows: str, *, model: str, key: str, why: str, against: str = "") -> int:
        """Record an opening before the rows are looked at; returns its number, from 1.

        One that stands there already is the same one, whose look a crash cut short: it keeps its number.
        """
        what = {"rows": rows, "model": model, "key": key, "why": why, "against": against}
        for _ in range(_TRIES):
            with Session(self._engine) as session:
                known = session.scalar(sa.select(OpeningRow.number).filter_by(**what))
                if known is not None:
                    return known
                last = session.scalar(sa.select(sa.func.max(OpeningRow.number)).filter_by(rows=rows, model=model)) or 0
                session.add(OpeningRow(**what, number=last + 1, at=datetime.now(UTC).isoformat(timespec="seconds")))
                try:
                    session.commit()
                except sa.exc.IntegrityError:
                    continue
                return last + 1
        raise RuntimeError(f"{_TRIES} other processes opened the same rows of {model} at this moment")

    def count(self, rows: str, *, model: str) -> Mapping[str, int]:
        """How often these rows were opened for a model, by reason."""
        with Session(self._engine) as session:
            return Counter(session.scalars(sa.select(OpeningRow.why).filter_by(rows=rows, model=model)))


def in_words(counts: Mapping[str, int]) -> str:
    """`opened 3 times (2 for promotion, 1 for evaluate)`."""
    total = sum(counts.values())
    if not total:
        return "never opened"
    reasons = ", ".join(f"{count} for {why}" for why, count in sorted(counts.items(), key=lambda one: -one[1]))
    times = {1: "once", 2: "twice"}.get(total, f"{total} times")
    return f"opened {times} ({reasons})"
