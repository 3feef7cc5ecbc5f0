"""Races and kills: of all who promote one reigns, and whoever is killed is finished by the next one."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo import champion as champion_module
from hpo import history as history_module
from hpo.executors import WorkerLostError
from hpo.history import History
from hpo.lease import HeldError, LeaseLostError, LeaseRow, leased, name_for
from hpo.patience import in_one_line
from hpo.storage import definition
from hpo.tester import WorkerTester
from pipelines import registry
from pipelines.errors import ModelError, StorageError
from pipelines.segment import TestJob
from tests.court import Court
from tests.faults import shows
from tests.stub import a_spec

from .killing import WRITES, KilledError, back, elsewhere, killed_at

pytestmark = pytest.mark.usefixtures("quick_sqlite")


@shows("two controllers", "J")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_promoters_at_once_the_better_model_reigns_in_the_end(court: Court, order: tuple[int, int]) -> None:
    court.asks("one", right=320)
    winners = [court.winner("good", right=350), court.winner("best", right=390)]
    both_judge_the_first, decisions = threading.Barrier(2), {}
    entered = [threading.Event(), threading.Event()]

    def ask(place: int) -> None:
        mine = Court(court.home)
        looks: list[int] = []

        def meet() -> None:
            looks.append(1)
            if len(looks) == 1:
                both_judge_the_first.wait(timeout=60)
                if order[0] != place:  # the other one enters its decision first
                    entered[order[0]].wait(timeout=60)

        mine.before_test = meet
        decisions[place] = mine.promote(winners[place])
        entered[place].set()

    threads = [threading.Thread(target=ask, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    best = decisions[1].version
    assert court.champion() == best
    assert decisions[1].alias == "champion"
    assert decisions[0].alias == ("champion" if order == (0, 1) else "challenger")
    assert decisions[order[1]].champion_version == (decisions[0].version if order == (0, 1) else best)
    court.reigns()
    assert sum(court.openings().values()) == 4, "the champion that came in between was a test of its own"


@shows("SIGKILL controller", "J")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), WRITES, ids=[name for _, name in WRITES])
def test_a_promotion_that_is_killed_at_any_write_is_finished_by_the_next_one(
    court: Court, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: bool
) -> None:
    steps = [court.winner("one", right=320), court.winner("two", right=350)]
    if name != "create_registered_model":
        court.promote(steps[0])
    winner = steps[0] if name == "create_registered_model" else steps[1]
    with monkeypatch.context() as patch:
        ends = killed_at(patch, name, owner, after=after)
        if name == "begin":  # nothing but what other hands did is entered so
            court.client.delete_registered_model_alias("sentiment", "champion")
        with pytest.raises(KilledError):
            court.promote(winner)
    assert ends == [name]
    assert court.champion() in {None, "1", "2"}
    decision = court.promote(winner)
    version = "1" if name == "create_registered_model" else "2"
    assert (decision.version, decision.alias, court.champion()) == (version, "champion", version)
    expected = [("1", None, "promoted"), ("2", "1", "promoted")]
    if name == "begin":
        expected = [("1", None, "promoted"), (None, "1", "outside"), ("2", None, "promoted")]
    assert court.reigns() == expected[: int(version) if name != "begin" else 3]
    assert sum(court.openings().values()) == int(version), "a look that was cut short is the same look"
    versions = court.client.search_model_versions("name = 'sentiment'")
    assert sorted(int(one.version) for one in versions) == list(range(1, int(version) + 1))
    assert len(History(court.ledger).decisions()) == int(version)
    assert court.client.get_model_version("sentiment", version).tags["hpo.decided"] == "champion"


@shows("SIGSTOP past the lease", "J")
@pytest.mark.parametrize("moment", ["before it decides", "before it sets the alias"])
def test_a_promoter_that_slept_past_its_lease_leaves_the_alias_to_who_took_over(
    court: Court, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    court.asks("one", right=320)
    slow, quick = court.winner("slow", right=350), court.winner("quick", right=390)
    owner, name = {
        "before it decides": (History, "decide"),
        "before it sets the alias": (MlflowClient, "set_registered_model_alias"),
    }[moment]
    real, slept = getattr(owner, name), list[bool]()

    def sleeping(*args: Any, **kwargs: Any) -> Any:
        if not slept:
            slept.append(True)
            elsewhere(court)
            Court(court.home).promote(quick)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, sleeping)
    with pytest.raises(LeaseLostError, match="model 'sentiment' was taken over by process"):
        court.promote(slow)
    best = registry.find_version(court.client, "sentiment@champion")
    assert best.tags["hpo.study"] == "quick"
    slow_reigned = moment != "before it decides"
    assert len(court.reigns()) == (3 if slow_reigned else 2), "a reign that was entered has been, before the better one"
    later = court.promote(slow)
    assert (later.alias, court.champion()) == ("champion" if slow_reigned else "challenger", str(best.version))


@shows("tracker away", "J")
def test_a_tracker_that_does_not_answer_is_not_taken_for_one_without_a_champion(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    court.asks("one", right=390)
    worse = court.winner("two", right=200)

    def away(*args: Any, **kwargs: Any) -> Any:
        raise MlflowException("the database is locked")

    with monkeypatch.context() as patch:
        for name in ("search_registered_models", "get_model_version_by_alias", "get_registered_model"):
            patch.setattr(MlflowClient, name, away)
        with pytest.raises(StorageError, match="the database is locked"):
            court.promote(worse)
    assert court.promote(worse).alias == "challenger"
    assert court.champion() == "1"


@shows("database away", "J")
@pytest.mark.parametrize("name", ["decide", "close"])
def test_a_ledger_that_goes_away_is_one_line_and_the_next_promotion_finishes(
    court: Court, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    court.asks("one", right=320)
    winner = court.winner("two", right=390)

    def away(*args: Any, **kwargs: Any) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(History, name, away)
        with pytest.raises(StorageError) as caught, in_one_line(court.places.storage):
            court.promote(winner)
    assert str(caught.value).startswith(
        f"storage {court.places.storage}: server closed the connection; nothing is lost"
    )
    assert court.promote(winner).alias == "champion"
    assert court.reigns() == [("1", None, "promoted"), ("2", "1", "promoted")]


@shows("tracker away", "J")
def test_a_lost_reply_leaves_one_version(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_model_version

    def twice(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        real(self, *args, **kwargs)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    assert court.asks("one", right=320).version == "1"
    assert [str(one.version) for one in court.client.search_model_versions("name = 'sentiment'")] == ["1"]


def test_a_lease_that_another_holds_is_waited_for_and_then_named(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(champion_module, "_PATIENCE_SECONDS", 0.5)
    winner = court.winner("one", right=320)
    with leased(court.ledger, name_for("sentiment")), pytest.raises(StorageError) as held:
        court.promote(winner)
    assert str(held.value).startswith("model 'sentiment' is being promoted or rolled back by process ")
    assert court.champion() is None
    assert court.promote(winner).alias == "champion"


class Mortal:
    """An executor whose worker dies at the first few tasks."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.asked = deaths, list[tuple[str, Any]]()

    def submit(self, task: str, payload: Any, *, key: str) -> "Future[Any]":
        self.asked.append((task, payload))
        future: Future[Any] = Future()
        if len(self.asked) <= self.deaths:
            future.set_exception(WorkerLostError("killed by signal 9"))
        else:
            future.set_result({"candidate": {"accuracy": 0.8}})
        return future


@shows("SIGKILL worker", "J")
def test_a_worker_that_dies_over_the_winner_is_replaced_and_asked_again(tmp_path: Path) -> None:
    mortal = Mortal(deaths=2)
    court = WorkerTester(mortal)  # type: ignore[arg-type]
    job = TestJob({}, tmp_path, tmp_path)
    assert court.score_on_test(job) == {"candidate": {"accuracy": 0.8}}
    assert mortal.asked == [("pipelines.locked:score_on_test", job)] * 3
    for_ever = Mortal(deaths=9)
    with pytest.raises(ModelError) as died:
        WorkerTester(for_ever).prove(tmp_path)  # type: ignore[arg-type]
    assert str(died.value) == "the worker that was to test the winner died 3 times: killed by signal 9"
    assert for_ever.asked == [("pipelines.proof:prove", tmp_path)] * 3


@shows("changed spec or data", "J")
def test_what_promotion_asks_for_may_change_while_a_study_lives(court: Court) -> None:
    strict = a_spec(promotion={"floors": {"accuracy": 0.99}})
    assert definition(strict, data_digest="d") == definition(a_spec(), data_digest="d")
    winner = court.winner("one", right=320)
    assert court.promote(winner, promotion={"floors": {"accuracy": 0.99}}).alias == "challenger"
    assert court.promote(winner).alias == "challenger", "what was decided stays, whatever is asked for later"


@shows("clock", "J")
def test_a_clock_that_jumps_neither_frees_the_alias_nor_turns_the_history_round(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion_module, "_PATIENCE_SECONDS", 0.5)
    for time_of_day, (study, right) in zip(("12", "10", "14"), (("a", 300), ("b", 340), ("c", 380)), strict=True):
        monkeypatch.setattr(history_module, "now", lambda hour=time_of_day: f"2026-11-25T{hour}:00:00+00:00")
        court.asks(study, right=right)
    assert back(court) == "2", "by the order of the rows, not by their times"
    with leased(court.ledger, name_for("sentiment")):
        with court.ledger.engine.begin() as connection:
            connection.execute(sa.update(LeaseRow).values(expires=1.0))  # as two hours later
        with pytest.raises(HeldError):
            back(court)
    assert court.champion() == "2"


def test_a_lease_has_room_for_any_name() -> None:
    assert name_for("sentiment") == "model:sentiment"
    assert len(name_for("x" * 80)) <= 80
    assert name_for("x" * 80) != name_for("x" * 79 + "y")


@shows("damaged file", "J")
def test_a_version_that_cannot_be_proved_does_not_reign(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = court.winner("one", right=320)

    def refuse(directory: Path) -> None:
        raise ModelError("the weights hold NaN or infinity")

    with monkeypatch.context() as patch:
        patch.setattr(court, "prove", refuse)
        with pytest.raises(ModelError, match="NaN"):
            court.promote(winner)
    assert (court.champion(), History(court.ledger).decisions()) == (None, [])
    (weights,) = court.home.glob("artifacts/one/models/*/artifacts/artifacts/model/model.safetensors")
    sound = weights.read_text()
    weights.write_text(sound.replace("320", "321"))
    with pytest.raises(ModelError, match="damaged"):
        court.promote(winner)
    weights.write_text(sound)
    assert court.promote(winner).alias == "champion"
    assert court.openings() == {"promotion": 1}
