"""By force, and back again."""

import json
import sqlite3
from contextlib import closing

import pytest

from hpo.champion import settle
from hpo.history import History
from pipelines.errors import ModelError
from tests.court import Court
from tests.faults import shows

from .killing import NOT_BETTER, WRITES, KilledError, back, killed_at, three_champions

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_challenger_is_made_champion_by_force_and_that_is_on_record(court: Court) -> None:
    court.asks("one", right=320)
    winner = court.winner("two", right=320, first=20)
    assert court.promote(winner).alias == "challenger"
    decision = court.promote(winner, force="it is half the size")
    assert (decision.alias, decision.forced, decision.reason) == ("champion", "it is half the size", NOT_BETTER)
    assert (
        decision.in_words()[0]
        == f"sentiment version 2 is champion: forced: it is half the size (the gate: {NOT_BETTER})"
    )
    assert court.reigns() == [("1", None, "promoted"), ("2", "1", "forced")]
    assert History(court.ledger).reigns()[-1].why == "it is half the size"
    assert (court.champion(), court.challenger()) == ("2", None), "it challenges nobody any more"
    assert court.promote(winner) == decision, "no force is needed to repeat it"
    assert court.promote(winner, force="again") == decision
    assert court.openings() == {"promotion": 2}
    tags = court.client.get_model_version("sentiment", "2").tags
    assert (tags["hpo.decided"], tags["hpo.decision"]) == (
        "champion",
        f"forced: it is half the size (the gate: {NOT_BETTER})",
    )


def test_what_is_better_anyway_needs_no_force(court: Court) -> None:
    court.asks("one", right=320)
    decision = court.asks("two", right=390, force="I like it")
    assert (decision.alias, decision.forced) == ("champion", None)
    assert court.reigns()[-1] == ("2", "1", "promoted")


def test_force_does_not_help_a_model_that_cannot_be_used(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court.asks("one", right=320)
    winner = court.winner("two", right=100)
    court.promote(winner)
    (weights,) = court.home.glob("artifacts/two/models/*/artifacts/artifacts/model/model.safetensors")
    weights.write_text("x")
    with pytest.raises(ModelError, match="damaged"):
        court.promote(winner, force="no reason")
    assert court.champion() == "1"


def test_each_rollback_goes_one_champion_back_until_there_is_none(court: Court) -> None:
    three_champions(court)
    court.proved.clear()
    assert (back(court), court.champion()) == ("2", "2")
    assert (back(court), court.champion()) == ("1", "1")
    assert [json.loads(one)[0] for one in court.proved] == ["two", "one"], "proved before it reigns again"
    with pytest.raises(ModelError) as refused:
        back(court)
    assert str(refused.value) == (
        "model 'sentiment' cannot be rolled back: version 1 is its only champion on record; see: hpo history sentiment"
    )
    assert refused.value.exit_code == 5
    assert [kind for _, _, kind in court.reigns()] == ["promoted"] * 3 + ["rollback"] * 2


def test_a_model_that_was_rolled_back_comes_again_by_force_alone(court: Court) -> None:
    court.asks("one", right=320)
    winner = court.winner("two", right=390)
    court.promote(winner)
    back(court)
    court.promote(winner)
    assert court.champion() == "1"
    court.promote(winner, force="the complaint was about something else")
    assert court.reigns()[-1] == ("2", "1", "forced")


def test_a_version_that_cannot_be_used_any_more_is_not_rolled_back_to(court: Court) -> None:
    three_champions(court)
    (weights,) = court.home.glob("artifacts/two/models/*/artifacts/artifacts/model/model.safetensors")
    weights.write_text("x")
    with pytest.raises(ModelError, match="damaged"):
        back(court)
    assert court.champion() == "3"


@shows("SIGKILL controller", "J")
@pytest.mark.parametrize(("owner", "name"), [(History, "begin"), WRITES[10], (History, "close")])
@pytest.mark.parametrize("after", [False, True])
def test_a_rollback_that_was_killed_and_is_repeated_goes_back_once(
    court: Court, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: bool
) -> None:
    three_champions(court)
    with monkeypatch.context() as patch:
        killed_at(patch, name, owner, after=after)
        with pytest.raises(KilledError):
            back(court)
    if (name, after) == ("close", True):
        settle("sentiment", ledger=court.ledger, client=court.client)  # it was done, and only its answer was lost
    else:
        assert back(court) == "2"
    assert court.champion() == "2"
    assert len(court.reigns()) == 4


def test_what_other_hands_did_to_the_alias_is_entered_and_can_be_undone(court: Court) -> None:
    three_champions(court)
    court.client.set_registered_model_alias("sentiment", "champion", "1")
    assert back(court) == "3"
    assert court.reigns()[-2:] == [("1", "3", "outside"), ("3", "1", "rollback")]
    court.client.delete_registered_model_alias("sentiment", "champion")
    assert back(court) == "3"
    assert court.reigns()[-2:] == [(None, "3", "outside"), ("3", None, "rollback")]


def test_a_champion_from_before_the_history_began_can_be_gone_back_to(court: Court) -> None:
    court.asks("one", right=320)
    with closing(sqlite3.connect(court.home / "studies.db")) as connection, connection:
        connection.execute("DELETE FROM hpo_reigns")
    court.asks("two", right=390)
    assert court.reigns() == [("1", None, "outside"), ("2", "1", "promoted")]
    assert back(court) == "1"


def test_an_alias_of_a_version_that_is_gone_is_no_reason_to_promote_anybody(court: Court) -> None:
    three_champions(court)
    with closing(sqlite3.connect(court.home / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE registered_model_aliases SET version = 9")
    with pytest.raises(ModelError) as gone:
        court.asks("four", right=399)
    assert str(gone.value) == (
        "sentiment@champion names version 9, which is gone; go back with: hpo rollback sentiment"
    )
    assert back(court) == "3"
