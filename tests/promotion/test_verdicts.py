"""Who becomes champion, and what is on record about it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pytest

from hpo.history import History
from pipelines import registry
from pipelines.data import text_hashes
from pipelines.errors import ModelError
from pipelines.files import read_json
from pipelines.loader import verify
from tests.court import Court, a_dataset

from .killing import NOT_BETTER

pytestmark = pytest.mark.usefixtures("quick_sqlite")


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
