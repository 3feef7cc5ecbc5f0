"""The doctor finds nothing in healthy studies, and looking changes nothing."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpo.doctor import examine
from tests.patients import Patient

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_nothing_is_wrong_with_a_finished_study(patient: Patient) -> None:
    found = examine(patient.places)
    assert found.as_json() == {
        "ok": True,
        "findings": [],
        "examined": {"studies": 1, "trials": 4, "runs": 5, "checkpoints": 0, "versions": 0},
    }
    assert [one.in_words() for one in found.examined] == ["toy: 4 trials, 5 runs, 0 checkpoints, 0 registered versions"]
    assert patient.treated() == ([], found)


def test_nothing_is_wrong_with_a_study_whose_best_model_is_champion(registered: Patient) -> None:
    found = examine(registered.places)
    assert found.findings == []
    assert [one.versions for one in found.examined] == [1]


def test_nothing_is_wrong_with_a_halved_study_whose_trials_rest(resting: tuple[Patient, int]) -> None:
    patient, number = resting
    assert MlflowClient(patient.places.tracking).get_run(patient.run_id(number)).info.status == "SCHEDULED"
    found = examine(patient.places)
    assert found.findings == []
    (seen,) = found.examined
    assert seen.checkpoints >= 2
    assert seen.note == "it is not over: run the same command again to go on"


def test_looking_changes_nothing(patient: Patient) -> None:
    def everything() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in patient.home.rglob("*") if file.is_file()}

    examine(patient.places)  # connecting to MLflow for the first time may note its version
    before = everything()
    examine(patient.places)
    assert everything() == before
