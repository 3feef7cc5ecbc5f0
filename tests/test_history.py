"""Openings of test rows, decisions and reigns in the ledger, on a real SQLite and a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hpo.decision import Decision, read_decision
from hpo.gate import Verdict
from hpo.history import FORCED, OUTSIDE, PROMOTED, ROLLBACK, History, a_reign, predecessor
from hpo.ledger import Ledger, StudyRow
from hpo.openings import EVALUATE, PROMOTION, Openings, in_words


@pytest.fixture
def ledger(storage_url: str) -> Ledger:
    return Ledger(storage_url)


def test_an_opening_keeps_its_number_however_often_it_is_recorded(ledger: Ledger) -> None:
    openings = Openings(ledger)
    first = {"model": "sentiment", "key": "a/3/x", "why": PROMOTION}
    assert openings.open("rows", **first) == 1
    assert openings.open("rows", **first | {"key": "b/0/y"}, against="1") == 2
    assert Openings(Ledger(ledger.url)).open("rows", **first) == 1, "the same look, after a crash"
    assert openings.open("rows", **first | {"why": EVALUATE}) == 3
    assert openings.open("rows", **first, against="2") == 4, "another champion is another test"
    assert openings.open("other rows", **first) == 1
    assert openings.open("rows", **first | {"model": "spam"}) == 1
    assert openings.count("rows", model="sentiment") == {PROMOTION: 3, EVALUATE: 1}
    assert openings.count("never", model="sentiment") == {}


def test_of_openings_at_one_moment_each_gets_a_number_of_its_own(ledger: Ledger) -> None:
    def look(number: int) -> int:
        return Openings(ledger).open("rows", model="sentiment", key=f"a/{number}/x", why=PROMOTION)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(look, range(12))) == list(range(1, 13))


def test_openings_are_told_by_reason() -> None:
    assert in_words({}) == "never opened"
    assert in_words({"promotion": 1}) == "opened once (1 for promotion)"
    assert in_words({"evaluate": 1, "promotion": 2}) == "opened 3 times (2 for promotion, 1 for evaluate)"


def reign(version: str | None, previous: str | None = None, kind: str = PROMOTED) -> Any:
    return a_reign("sentiment", version=version, previous=previous, kind=kind, why="better", key=f"a/{version}")


def test_a_decision_and_its_reign_are_entered_together(ledger: Ledger) -> None:
    history = History(ledger)
    assert history.decision("sentiment", "a/1") is None
    assert (history.last("sentiment"), history.models()) == (None, [])
    history.decide(model="sentiment", key="a/1", decision={"alias": "champion"}, reign=reign("1"))
    history.decide(model="sentiment", key="a/2", decision={"alias": "challenger"})
    history.decide(model="sentiment", key="a/2", decision={"alias": "champion"}, reign=reign("2", "1", FORCED))
    history.decide(model="spam", key="a/2", decision={"alias": "champion"})
    assert history.decision("sentiment", "a/2") == {"alias": "champion"}
    assert [(row.key, row.model) for row in history.decisions()] == [
        ("a/1", "sentiment"),
        ("a/2", "sentiment"),
        ("a/2", "spam"),
    ]
    rows = History(Ledger(ledger.url)).reigns("sentiment")
    assert [(row.version, row.previous, row.kind, row.done) for row in rows] == [
        ("1", None, "promoted", False),
        ("2", "1", "forced", False),
    ]
    history.close("sentiment")
    last = history.last("sentiment")
    assert last is not None
    assert last.as_row() == {
        "at": last.at,
        "version": "2",
        "previous": "1",
        "kind": "forced",
        "why": "better",
        "key": "a/2",
        "done": True,
    }
    assert history.models() == ["sentiment", "spam"]


def test_a_decision_whose_reign_cannot_be_entered_is_not_entered(ledger: Ledger) -> None:
    history = History(ledger)
    broken = reign("1")
    broken.kind = None
    with pytest.raises(sa.exc.DBAPIError):
        history.decide(model="sentiment", key="a/1", decision={"alias": "champion"}, reign=broken)
    assert history.decisions() == []


@pytest.mark.parametrize(
    ("reigns", "expected"),
    [
        ([], None),
        ([("1", PROMOTED)], None),
        ([("1", PROMOTED), ("2", PROMOTED)], "1"),
        ([("1", PROMOTED), ("2", PROMOTED), ("3", FORCED)], "2"),
        ([("1", PROMOTED), ("2", PROMOTED), ("3", PROMOTED), ("2", ROLLBACK)], "1"),
        ([("1", PROMOTED), ("2", PROMOTED), ("3", PROMOTED), ("2", ROLLBACK), ("1", ROLLBACK)], None),
        ([("1", PROMOTED), ("2", PROMOTED), ("1", ROLLBACK), ("4", PROMOTED)], "1"),
        ([("1", PROMOTED), ("2", PROMOTED), ("1", FORCED)], "2"),
        ([("1", OUTSIDE), ("2", PROMOTED)], "1"),
        ([("1", PROMOTED), ("2", PROMOTED), ("7", OUTSIDE)], "2"),
        ([("1", PROMOTED), ("2", PROMOTED), (None, OUTSIDE)], "2"),
        ([("1", PROMOTED), ("2", PROMOTED), (None, OUTSIDE), ("2", ROLLBACK)], "1"),
    ],
)
def test_a_rollback_goes_one_champion_back(reigns: list[tuple[str | None, str]], expected: str | None) -> None:
    assert predecessor([reign(version, kind=kind) for version, kind in reigns]) == expected


def test_a_ledger_of_an_earlier_version_gets_the_new_tables_and_keeps_what_it_has(ledger: Ledger) -> None:
    for table in ("hpo_openings", "hpo_reigns"):
        with ledger.engine.begin() as connection:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    ledger.open_study("old", {}, spec="{}")
    again = Ledger(ledger.url)
    assert History(again).reigns() == []
    assert Openings(again).open("rows", model="sentiment", key="a", why=PROMOTION) == 1
    with Session(again.engine) as session:
        assert session.scalar(sa.select(StudyRow.name)) == "old"


OLD = {
    "model": "sentiment",
    "version": "2",
    "alias": "challenger",
    "reason": "not better than the champion on the locked test rows (accuracy)",
    "metric": "accuracy",
    "candidate": 0.8,
    "champion": 0.81,
    "champion_version": "1",
    "scores": {"accuracy": 0.8},
}


def test_a_decision_of_an_earlier_version_is_read() -> None:
    decision = read_decision(OLD)
    assert (decision.verdict, decision.forced, decision.rows) == (None, None, "")
    assert decision.in_words() == [
        "sentiment version 2 is challenger: not better than the champion on the locked test rows (accuracy)",
        "locked test accuracy 0.8000; champion version 1: 0.8100",
    ]


def test_a_decision_survives_the_ledger(ledger: Ledger) -> None:
    from dataclasses import asdict

    verdict = Verdict(False, "below", "better", "accuracy", 0.8, None, 3, 0.003, failed=("accuracy 0.8 (floor 0.9)",))
    decision = Decision(**OLD, rows="abc", verdict=verdict, forced="the old one is unsafe")
    history = History(ledger)
    history.decide(model="sentiment", key="a", decision=asdict(decision))
    read = history.decision("sentiment", "a")
    assert read is not None
    assert read_decision(read | {"of a later version": 1}) == decision
    assert decision.in_words()[0] == (
        "sentiment version 2 is challenger: forced: the old one is unsafe (the gate: not better than the champion on "
        "the locked test rows (accuracy))"
    )
    assert decision.as_tags()["hpo.opening"] == "3"
