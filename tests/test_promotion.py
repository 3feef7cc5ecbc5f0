"""From a winner to the champion: the gate, the way back, races, kills, and what is left on record of each."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from hpo import champion as champion_module
from hpo import history as history_module
from hpo.champion import roll_back, settle
from hpo.cli import app
from hpo.executors import WorkerLostError
from hpo.history import History
from hpo.lease import HeldError, Holder, LeaseLostError, LeaseRow, leased, name_for
from hpo.openings import Openings
from hpo.patience import in_one_line
from hpo.promotion import Winner
from hpo.storage import definition
from hpo.tester import WorkerTester
from pipelines import registry
from pipelines.data import text_hashes
from pipelines.errors import ModelError, StorageError
from pipelines.files import read_json
from pipelines.loader import verify
from pipelines.segment import TestJob
from tests.court import Court, a_dataset, pack
from tests.faults import shows
from tests.stub import a_spec

NOT_BETTER = "not better than the champion on the locked test rows (accuracy)"


pytestmark = pytest.mark.usefixtures("quick_sqlite")


@pytest.fixture
def court(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.setattr(registry, "_packed", pack)
    return Court(tmp_path)


def test_the_first_winner_reigns_and_all_of_it_is_on_record(court: Court) -> None:
    winner = court.winner("one", right=320)
    decision = court.promote(winner)
    assert (decision.version, decision.alias, decision.reason) == ("1", "champion", "there was no champion")
    assert (court.champion(), court.challenger()) == ("1", None)
    assert court.reigns() == [("1", None, "promoted")]
    assert court.openings() == {"promotion": 1}
    assert len(court.tested) == len(court.proved) == 1
    run_id = str(read_json(winner.directory / "mirror.json")["run_id"])
    files = {name: Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name)) for name in _ARTIFACTS}
    assert json.loads(files["decision.json"].read_text()) == json.loads(json.dumps(asdict(decision)))
    assert np.array_equal(np.load(files["rows.npy"]), text_hashes(*_training_splits()))
    assert court.client.get_run(run_id).data.metrics["test/accuracy"] == 0.8
    version = court.client.get_model_version("sentiment", "1")
    assert version.tags["hpo.decision"] == "there was no champion"
    assert (version.tags["hpo.decided"], version.tags["hpo.opening"]) == ("champion", "1")
    assert version.tags["hpo.data"] == a_dataset().digest
    assert "| accuracy | 0.9000 | 0.8000 |" in version.description


_ARTIFACTS = ("decision.json", "rows.npy", "test/predictions.parquet")


def _training_splits() -> list[Any]:
    splits = a_dataset().splits
    return [splits["train"], splits["select"], splits["calibrate"]]


def test_the_registered_model_has_a_card_and_the_trials_own_model_stays_as_it_was(court: Court, tmp_path: Path) -> None:
    winner = court.winner("one", right=320)
    before = {file.name: file.read_bytes() for file in (winner.directory / "model").iterdir()}
    court.promote(winner)
    assert {file.name: file.read_bytes() for file in (winner.directory / "model").iterdir()} == before
    assert not list(winner.directory.glob(".*"))
    version = registry.find_version(court.client, "sentiment@champion")
    pulled = registry.pull(court.client, version, tmp_path / "pulled")
    assert "The test split was locked until the model had been chosen" in (pulled / "README.md").read_text()
    verify(pulled)


def test_a_model_that_was_decided_about_is_not_tested_again(court: Court) -> None:
    winner = court.winner("one", right=320)
    first = court.promote(winner)
    court.tested.clear()
    court.proved.clear()
    assert court.promote(winner) == first
    assert (court.tested, court.proved, court.openings()) == ([], [], {"promotion": 1})
    assert court.reigns() == [("1", None, "promoted")]


def test_a_better_one_is_promoted_and_an_equal_one_is_not(court: Court) -> None:
    court.asks("one", right=320)
    decision = court.asks("two", right=350)
    assert (decision.alias, decision.champion_version, decision.champion) == ("champion", "1", 0.8)
    assert decision.verdict is not None
    assert (decision.verdict.opening, decision.verdict.test) == (2, "exact McNemar")
    equal = court.asks("three", right=350, first=20)
    assert (equal.alias, equal.reason) == ("challenger", NOT_BETTER)
    assert (court.champion(), court.challenger()) == ("2", "3")
    assert court.reigns() == [("1", None, "promoted"), ("2", "1", "promoted")]
    assert court.openings() == {"promotion": 3}
    tags = court.client.get_model_version("sentiment", "3").tags
    assert (tags["hpo.decided"], tags["hpo.opening"]) == ("challenger", "3")
    assert "exact McNemar: p 0.563, level 0.00338, policy better" in tags["hpo.figures"]


def test_the_same_difference_is_enough_at_an_early_look_and_not_at_a_later_one(court: Court) -> None:
    court.asks("one", right=320)
    for number in range(4):
        assert court.asks(f"equal-{number}", right=320, first=10 + number).alias == "challenger"
    late = court.asks("late", right=329)  # 9 rows won, none lost: p 0.00195
    assert late.verdict is not None
    assert (late.alias, late.verdict.opening, late.verdict.p) == ("challenger", 6, 0.5**9)


def test_floors_and_limits_keep_even_the_first_one_from_reigning(court: Court) -> None:
    policy = {"promotion": {"floors": {"class good": 0.9}}}
    first = court.asks("one", right=320, **policy)
    assert (first.alias, first.reason) == ("challenger", "it misses class good 0.8000 (floor 0.9)")
    assert (court.champion(), court.challenger(), court.reigns()) == (None, "1", [])
    assert court.asks("two", right=390, **policy).alias == "champion"


def test_floors_on_other_data_hold_too_and_their_scores_go_into_the_run(court: Court) -> None:
    policy = {"promotion": {"elsewhere": {"sample:amazon": {"accuracy": 0.7, "log_loss": 0.6}}}}
    court.elsewhere = {"sample:amazon": {"accuracy": 0.65, "log_loss": 0.7}}
    first = court.asks("one", right=320, **policy)
    assert (first.alias, first.reason) == (
        "challenger",
        "it misses accuracy on sample:amazon 0.6500 (floor 0.7); log_loss on sample:amazon 0.7000 (at most 0.6)",
    )
    version = court.client.get_model_version("sentiment", "1")
    assert "test/elsewhere.json" in {file.path for file in court.client.list_artifacts(version.run_id, "test")}
    court.elsewhere = {"sample:amazon": {"accuracy": 0.75, "log_loss": 0.5}}
    assert court.asks("two", right=320, **policy).alias == "champion"


def test_a_study_without_test_rows_or_without_a_name_promotes_nobody(court: Court) -> None:
    winner = court.winner("one", right=320)
    data = a_dataset()
    nothing = replace(data.splits["test"], texts=[], labels=np.empty(0, np.int64), ids=[])
    with pytest.raises(ModelError, match="study 'one' has no test rows to promote by"):
        court.promote(winner, dataset=replace(data, splits={**data.splits, "test": nothing}))
    assert court.openings() == {}


def test_a_winner_without_a_result_is_known_by_its_weights(court: Court) -> None:
    """A model that was trained anew with another seed, say: it has no result.json."""
    winner = court.winner("one", right=320)
    court.promote(winner)
    (row,) = History(court.ledger).decisions()
    assert row.key.startswith("one/3/")
    assert len(row.key) == len("one/3/") + 16


# Races and kills


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


class KilledError(BaseException):
    """The process ends here."""


_WRITES = (
    (MlflowClient, "create_registered_model"),
    (MlflowClient, "create_logged_model"),
    (MlflowClient, "log_model_artifacts"),
    (MlflowClient, "log_outputs"),
    (MlflowClient, "finalize_logged_model"),
    (MlflowClient, "create_model_version"),
    (MlflowClient, "log_batch"),
    (MlflowClient, "log_artifacts"),
    (MlflowClient, "log_artifact"),
    (MlflowClient, "set_model_version_tag"),
    (MlflowClient, "set_registered_model_alias"),
    (Openings, "open"),
    (History, "decide"),
    (History, "begin"),
    (History, "close"),
)


def killed_at(patch: pytest.MonkeyPatch, name: str, owner: type, *, after: bool) -> list[str]:
    """Let the next call of this kind end the process, before it is done or after it; returns the list of such ends."""
    real, ends = getattr(owner, name), list[str]()

    def dying(*args: Any, **kwargs: Any) -> Any:
        if ends:
            return real(*args, **kwargs)
        done = real(*args, **kwargs) if after else None
        ends.append(name)
        raise KilledError(done)

    patch.setattr(owner, name, dying)
    return ends


@shows("SIGKILL controller", "J")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), _WRITES, ids=[name for _, name in _WRITES])
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


def elsewhere(court: Court) -> None:
    """As if whoever holds the model's lease were on another machine, and had given no sign of life for long."""
    holder = json.dumps(asdict(Holder("elsewhere", "another boot", 4711, "123")))
    mine = LeaseRow.study == name_for("sentiment")
    with court.ledger.engine.begin() as connection:
        connection.execute(sa.update(LeaseRow).where(mine).values(holder=holder, expires=1.0))


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


# What cannot be compared


def test_a_champion_of_other_classes_keeps_its_place(court: Court) -> None:
    court.asks("one", right=320)
    three = ("bad", "good", "mixed")
    winner = court.winner("two", right=390, labels=three)
    decision = court.promote(winner, dataset=a_dataset("toy3", three))
    assert decision.alias == "challenger"
    assert decision.reason == "the champion knows other classes (they differ in mixed): the two cannot be compared"
    assert (decision.champion, decision.champion_version) == (None, "1")
    forced = court.promote(winner, dataset=a_dataset("toy3", three), force="the new product has three classes")
    assert (forced.alias, court.champion()) == ("champion", "2")


def test_models_of_other_data_are_compared_on_the_candidates_rows_where_the_champion_never_saw_them(
    court: Court,
) -> None:
    court.asks("one", right=320)
    decision = court.asks("two", right=390, dataset=a_dataset("other"))
    assert (decision.alias, decision.champion) == ("champion", 0.8)
    assert decision.verdict is not None
    assert decision.verdict.opening == 1, "fresh rows"


def test_a_champion_that_saw_test_rows_in_training_is_not_compared_on_them(court: Court) -> None:
    court.asks("one", right=320)
    seen = a_dataset().splits
    texts = [
        *list(seen["train"].texts)[:3],
        seen["select"].texts[0].upper(),
        *(f"new {row}" for row in range(60)),
    ]
    decision = court.asks("two", right=64, dataset=a_dataset("other", test=texts))
    assert decision.alias == "challenger"
    assert decision.reason == "the champion's training saw 4 of the 64 test texts: the two cannot be compared"


def test_a_champion_of_other_data_without_a_record_of_its_rows_is_not_compared(court: Court) -> None:
    court.asks("one", right=320)
    for rows in court.home.glob("artifacts/one/*/artifacts/rows.npy"):
        rows.unlink()
    decision = court.asks("two", right=390, dataset=a_dataset("other"))
    assert decision.alias == "challenger"
    assert decision.reason == (
        "the champion was trained on other data, and no record says on which rows: the two cannot be compared"
    )


def test_a_champion_of_an_earlier_version_is_known_by_its_studys_definition(court: Court) -> None:
    court.asks("one", right=320)
    court.client.delete_model_version_tag("sentiment", "1", "hpo.data")
    court.ledger.open_study("one", {"data_digest": a_dataset().digest}, spec="{}")
    assert court.asks("two", right=350).champion == 0.8


# By force, and back again


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


def back(court: Court) -> str | None:
    return roll_back("sentiment", ledger=court.ledger, client=court.client, prove=court.prove).version


def three_champions(court: Court) -> None:
    for study, right in (("one", 300), ("two", 340), ("three", 380)):
        assert court.asks(study, right=right).alias == "champion"


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
@pytest.mark.parametrize(("owner", "name"), [(History, "begin"), _WRITES[10], (History, "close")])
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


# The commands


@pytest.fixture
def hpo(court: Court, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command at the court's home; returns its result."""
    monkeypatch.setenv("HPO_HOME", str(court.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", court.places.tracking)
    monkeypatch.setenv("HPO_STORAGE", court.places.storage)
    monkeypatch.setattr("pipelines.loader.prove", court.prove)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_history_tells_who_reigned_and_what_was_decided(court: Court, hpo: Callable[..., Any]) -> None:
    court.asks("one", right=320)
    court.asks("two", right=390)
    court.asks("three", right=390, first=5)
    shown = hpo("history", "sentiment", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["model"], found["champion"]) == ("sentiment", "2")
    assert [(row["version"], row["previous"], row["kind"]) for row in found["history"]] == [
        ("1", None, "promoted"),
        ("2", "1", "promoted"),
    ]
    refused = found["decisions"][2]
    assert (refused["version"], refused["alias"], refused["reason"]) == ("3", "challenger", NOT_BETTER)
    assert refused["verdict"].keys() >= {"test", "difference", "low", "high", "p", "level", "opening"}
    text = hpo("history", "sentiment").stdout
    assert "sentiment: who was champion" in text
    assert f"sentiment version 3 is challenger: {NOT_BETTER}\n" in text
    assert "\n    exact McNemar: p 0.623, level 0.00338, policy better\n    opening 3 of these test rows" in text
    unknown = hpo("history", "sentimant")
    assert unknown.exit_code == 1, "a UserError, which main turns into one line"
    assert isinstance(unknown.exception, ModelError)
    assert str(unknown.exception) == (
        "nothing was decided about a registered model 'sentimant'; did you mean sentiment?; known are: sentiment"
    )


def test_rollback_says_who_is_champion_again(court: Court, hpo: Callable[..., Any]) -> None:
    three_champions(court)
    shown = hpo("rollback", "sentiment")
    assert (shown.exit_code, shown.stdout) == (0, "sentiment version 2 is champion again: back from version 3\n")
    shown = json.loads(hpo("rollback", "sentiment", "--json").stdout)
    assert (shown["model"], shown["version"], shown["previous"], shown["kind"]) == ("sentiment", "1", "2", "rollback")
    refused = hpo("rollback", "sentiment")
    assert isinstance(refused.exception, ModelError)
    assert isinstance(hpo("rollback", "o'brien").exception, ModelError)


def test_an_empty_home_has_no_history_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["history", "sentiment"])
    assert str(shown.exception) == "nothing was decided about a registered model 'sentiment'; known are: none"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--force"], ["--why", "it is smaller"], ["--force", "--why", " "]])
def test_force_and_its_reason_go_together(words: list[str]) -> None:
    shown = CliRunner().invoke(app, ["promote", "study", *words])
    assert str(shown.exception) == (
        '--force and --why go together: hpo promote STUDY --force --why "the reason, for the record"'
    )
    assert shown.exception.exit_code == 2  # type: ignore[union-attr]


def test_a_winner_is_a_plain_value() -> None:
    assert Winner(3, Path("a"), "trial-00003") == Winner(3, Path("a"), "trial-00003")
