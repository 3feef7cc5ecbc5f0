"""Models in MLflow that nothing needs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from hpo import leftovers
from hpo.doctor import examine
from hpo.lease import held
from hpo.ledger import Ledger
from hpo.leftovers import RECENT_SECONDS, Survey, free, survey
from pipelines import registry
from pipelines.loader import verify
from tests.patients import Patient

from .surveyed import BEST, OTHER, a_file, logged, words


def stored(model: LoggedModel) -> list[Path]:
    """The files of a logged model."""
    folder = Path(model.artifact_location.removeprefix("file://"))
    return [file for file in folder.rglob("*") if file.is_file()]


def test_a_finished_study_leaves_nothing_that_could_go(patient: Patient) -> None:
    assert survey(patient.places) == Survey([], [], [])
    assert free(patient.places) == Survey([], [], [])
    assert examine(patient.places).findings == []


# Models in MLflow


def test_of_two_logged_models_that_of_the_deleted_version_alone_is_freed(patient: Patient, tmp_path: Path) -> None:
    models = logged(patient)
    kept, spare = models[f"toy/{BEST}/abc"], models[f"toy/{OTHER}/abc"]
    size = sum(file.stat().st_size for file in stored(spare))
    patient.client.delete_model_version("sentiment", "2")
    found = survey(patient.places)
    why = "it was uploaded for the registry, and no version is made of it"
    assert words(found) == [(f"model {spare.model_id} in MLflow", why)]
    assert found.bytes == size > 100_000
    assert logged(patient).keys() == models.keys(), "looking frees nothing"
    assert free(patient.places).bytes == size
    assert list(logged(patient)) == [f"toy/{BEST}/abc"]
    assert stored(spare) == []
    assert stored(kept)
    version = registry.find_version(patient.client, "sentiment@champion")
    verify(registry.pull(patient.client, version, tmp_path / "pulled"))
    assert examine(patient.places).findings == []
    assert survey(patient.places).leftovers == []


def test_no_logged_model_is_freed_whose_version_exists_under_any_name(patient: Patient) -> None:
    spare = logged(patient)[f"toy/{OTHER}/abc"]
    patient.client.delete_model_version("sentiment", "2")
    patient.client.create_registered_model("elsewhere")
    patient.client.create_model_version("elsewhere", source=f"{spare.artifact_location}/", run_id=patient.run_id(OTHER))
    assert survey(patient.places).leftovers == []
    assert free(patient.places).leftovers == []
    assert stored(spare)


def test_a_model_that_somebody_logged_himself_is_his(patient: Patient) -> None:
    experiment = patient.client.get_experiment_by_name("toy")
    assert experiment is not None
    patient.client.create_logged_model(experiment.experiment_id, name="own")
    patient.client.create_logged_model(experiment.experiment_id, name="own", tags={registry.KEY: "toyland/0/abc"})
    assert survey(patient.places).leftovers == []


def test_a_model_that_was_uploaded_a_moment_ago_may_become_a_version(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.client.delete_model_version("sentiment", "2")
    monkeypatch.setattr(leftovers, "RECENT_SECONDS", RECENT_SECONDS)
    assert survey(patient.places).leftovers == []


def test_whoever_is_killed_in_between_frees_the_rest_the_next_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.client.delete_model_version("sentiment", "2")
    spare = logged(patient)[f"toy/{OTHER}/abc"]

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_logged_model", kill)
        with pytest.raises(KeyboardInterrupt):
            free(patient.places)
    assert stored(spare) == []
    assert held(Ledger(patient.places.storage)) == []
    assert [one.bytes for one in free(patient.places).leftovers] == [0]
    assert examine(patient.places).findings == []
    assert survey(patient.places).leftovers == []


def test_without_mlflow_all_else_is_freed_and_its_copies_stay(patient: Patient) -> None:
    away = replace(patient.places, tracking="sqlite:////nowhere/mlflow.db")
    copy = a_file(patient.home / "cache/models/sentiment-2-abc/model.safetensors")
    a_file(patient.home / "cache/encoded/abc/tokens.arrow")
    patient.client.delete_model_version("sentiment", "2")
    found = free(away)
    assert words(found) == [("cache/encoded/abc", "encoded texts that no unfinished study uses")]
    assert "MLflow does not answer, what it keeps was left alone (" in found.remarks[0]
    assert copy.exists()
