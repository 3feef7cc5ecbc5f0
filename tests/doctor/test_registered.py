"""What the doctor finds among registered versions and decisions."""

import json
import shutil
from pathlib import Path

import pytest

from hpo.history import PROMOTED, History, a_reign
from hpo.ledger import Ledger
from pipelines.export import read_facts, seal
from pipelines.files import read_json, write_json
from pipelines.golden import write_golden
from pipelines.hpo_classifier import Classifier
from tests.patients import Found, Patient

from .findings import BEST, assert_advised, flip_a_bit

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def stored_weights(registered: Patient) -> Path:
    (weights,) = registered.home.glob("artifacts/toy/models/*/artifacts/artifacts/model/model.safetensors")
    return weights


def test_a_version_whose_file_is_damaged_is_found_and_so_is_its_alias(registered: Patient) -> None:
    flip_a_bit(stored_weights(registered))
    assert registered.found() == [
        ("I10", BEST, "sentiment/1: model/model.safetensors: damaged (its content is not what was written)"),
        ("I11", None, "sentiment@champion means version 1, which cannot be used"),
    ]


def test_a_version_that_answers_otherwise_than_when_it_was_written_is_found(registered: Patient) -> None:
    model = stored_weights(registered).parent
    write_golden(Classifier(model, device="cpu"), model)
    seal(model, read_facts(model))
    assert registered.found() == []
    golden = read_json(model / "golden.json")
    write_json(model / "golden.json", golden | {"probabilities": [[0.5, 0.5]] * len(golden["texts"])})
    seal(model, read_facts(model))
    (first, trial, what), alias = registered.found()
    assert (first, trial) == ("I10", BEST)
    assert what.startswith("sentiment/1: model: its answers are not those that it gave when it was written (")
    assert alias == ("I11", None, "sentiment@champion means version 1, which cannot be used")


def test_a_version_that_cannot_be_downloaded_is_found(registered: Patient) -> None:
    shutil.rmtree(stored_weights(registered).parents[2])
    (first, trial, what), alias = registered.found()
    assert (first, trial) == ("I10", BEST)
    assert what.startswith("sentiment/1: cannot be downloaded: ")
    assert alias == ("I11", None, "sentiment@champion means version 1, which cannot be used")


def test_an_alias_of_a_version_that_is_gone_is_found(registered: Patient) -> None:
    registered.sql("mlflow.db", "UPDATE registered_model_aliases SET version = 9")
    found: Found = [
        ("I11", None, "sentiment@champion means version 9, which does not exist"),
        ("I11", None, "sentiment@champion means version 9, the history says 1: other hands moved it"),
    ]
    advice = ("point the alias to a sound version, or delete it", ENTER)
    assert_advised(registered, found, *advice)


def test_an_alias_of_a_version_that_is_not_ready_is_found(registered: Patient) -> None:
    registered.sql("mlflow.db", "UPDATE model_versions SET status = 'FAILED_REGISTRATION'")
    found: Found = [("I11", None, "sentiment@champion means version 1, which is FAILED_REGISTRATION")]
    assert_advised(registered, found, "point the alias to a sound version, or delete it")


def test_a_version_that_nobody_decided_about_is_found(registered: Patient) -> None:
    registered.sql("studies.db", "DELETE FROM hpo_decisions")
    found: Found = [
        ("I11", BEST, "sentiment/1 is registered, and the ledger has no decision about it"),
        ("I11", BEST, "the study is over, and nothing was decided about its winner for sentiment"),
    ]
    advice = ("finish it: hpo promote toy", "run the same command again, or: hpo promote toy")
    assert_advised(registered, found, *advice)


def test_a_decision_about_a_version_that_is_gone_is_found(registered: Patient) -> None:
    registered.client.delete_model_version("sentiment", "1")
    what = f"the ledger decided about sentiment (toy/{BEST}/abc), and no version of that key exists"
    found: Found = [
        ("I11", None, "sentiment@champion means nothing, the history says 1: other hands moved it"),
        ("I11", None, what),
    ]
    assert_advised(registered, found, ENTER, "was the version deleted? Restore MLflow from a backup")


def test_a_decision_about_another_version_is_found(registered: Patient) -> None:
    changed = json.dumps({"alias": "challenger", "version": "7", "verdict": {}})
    registered.sql("studies.db", "UPDATE hpo_decisions SET decision = ?", changed)
    what = "the ledger decided about sentiment/7, and its key is version 1's"
    assert_advised(registered, [("I11", None, what)], "was MLflow restored from an older backup?")


ENTER = "hpo promote toy or hpo rollback sentiment enters it"


def test_an_alias_that_other_hands_have_moved_is_found(registered: Patient) -> None:
    registered.client.delete_registered_model_alias("sentiment", "champion")
    found: Found = [("I11", None, "sentiment@champion means nothing, the history says 1: other hands moved it")]
    assert_advised(registered, found, ENTER)


def test_a_champion_whose_alias_was_not_moved_before_a_kill_is_found(registered: Patient) -> None:
    registered.sql("studies.db", "UPDATE hpo_reigns SET done = 0")
    found: Found = [("I11", None, "sentiment@champion was to become version 1, and that was cut short")]
    assert_advised(registered, found, "hpo promote toy or hpo rollback sentiment finishes it")


def test_a_gap_in_the_history_is_found(registered: Patient) -> None:
    history = History(Ledger(registered.places.storage))
    history.begin(a_reign("sentiment", version="1", previous="5", kind=PROMOTED, why="better"))
    history.close("sentiment")
    found: Found = [("I11", None, "the history of sentiment has a gap: version 1 reigned, then 5 did")]
    assert_advised(registered, found, "rows are missing: restore the ledger from a backup")


def test_a_champion_that_the_history_does_not_tell_of_is_found(registered: Patient) -> None:
    registered.sql("studies.db", "DELETE FROM hpo_reigns")
    found: Found = [("I11", None, "sentiment/1 was made champion, and the history does not tell of it")]
    assert_advised(registered, found, "rows are missing: restore the ledger from a backup")


def test_of_decisions_before_there_was_a_history_none_is_asked_for(registered: Patient) -> None:
    registered.sql("studies.db", "DELETE FROM hpo_reigns")
    registered.sql("studies.db", "UPDATE hpo_decisions SET decision = ?", json.dumps({"alias": "champion"}))
    assert registered.found() == []
