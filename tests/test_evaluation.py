"""A registered model is scored on its study's locked rows, and the look is counted before."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.evaluation import Evaluation, evaluate
from pipelines import registry
from pipelines.data import save_dataset
from pipelines.errors import ConfigError, DataError, ModelError
from tests.court import Court, a_dataset, pack


@pytest.fixture
def court(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    """One champion."""
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.setattr(registry, "_packed", pack)
    court = Court(tmp_path)
    court.asks("one", right=320)
    return court


def evaluated(court: Court, reference: str = "sentiment@champion") -> Evaluation:
    return evaluate(reference, places=court.places, score_on_test=lambda job: court._score(job, a_dataset()))


def test_a_model_is_scored_on_its_own_test_rows_and_the_look_is_counted_once(court: Court) -> None:
    found = evaluated(court)
    assert (found.model, found.version, found.study, found.rows, found.opening) == ("sentiment", "1", "one", 400, 2)
    assert found.scores["accuracy"] == 0.8
    assert evaluated(court, "sentiment/1") == found
    assert court.openings() == {"promotion": 1, "evaluate": 1}
    later = court.asks("two", right=350)
    assert later.verdict is not None
    assert later.verdict.opening == 3


def test_other_data_is_not_taken_for_the_models_own(court: Court) -> None:
    shutil.rmtree(court.places.study("one") / "data")
    save_dataset(a_dataset("other"), court.places.study("one") / "data")
    with pytest.raises(DataError, match="holds other data than its study 'one' was run on"):
        evaluated(court)
    shutil.rmtree(court.places.study("one") / "data")
    with pytest.raises(DataError, match="the data of its study 'one' is not here"):
        evaluated(court)
    with pytest.raises(ModelError, match="no such version or alias"):
        evaluated(court, "sentiment@boss")
    assert court.openings() == {"promotion": 1}


def test_the_command_prints_scores_and_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Evaluation("sentiment", "1", "one", 400, 2, {"accuracy": 0.8, "recall.good": 0.7})
    monkeypatch.setattr("hpo.evaluation.evaluate", lambda *_, **__: found)
    shown: Any = CliRunner().invoke(app, ["evaluate", "sentiment", "--split", "test", "--json"])
    assert json.loads(shown.stdout) == {**vars(found), "split": "test"}
    shown = CliRunner().invoke(app, ["evaluate", "sentiment", "--split", "test"])
    assert "sentiment version 1: 400 test rows" in shown.stdout
    assert "opening 2 of these test rows for sentiment\n" in shown.stdout
    refused = CliRunner().invoke(app, ["evaluate", "sentiment"]).exception
    assert isinstance(refused, ConfigError), "what to score it on must be said"
