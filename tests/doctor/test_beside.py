"""What the doctor finds of trainings beside the trials."""

import shutil
from pathlib import Path

import pytest

from hpo.records import write_side_record
from pipelines.files import read_json, write_json
from pipelines.segment import SegmentResult
from tests.patients import Found, Patient, a_tracker
from tests.stub import a_spec

from .findings import BEST, OTHER, assert_mended

pytestmark = pytest.mark.usefixtures("quick_sqlite")


@pytest.fixture
def confirmed(patient: Patient) -> tuple[Patient, Path]:
    """The finished study, which delivers a fresh training of its trial OTHER; and the directory of that."""
    home = patient.places.study("toy")
    delivered, baseline = home / f"confirm-{OTHER:05d}-1", home / "baseline-majority"
    result = SegmentResult(8, 8, 8, {"accuracy": 0.9}, finished=True)
    for directory, kind in ((delivered, "confirmation"), (baseline, "baseline")):
        write_side_record(
            directory, study=a_spec(), kind=kind, about="beside", params={"seed": 7}, state="COMPLETE", result=result
        )
        a_tracker(patient.home, "toy").sync_trial(directory)
    shutil.copytree(patient.trial(BEST) / "model", delivered / "model")
    (home / "report").mkdir()
    write_json(home / "report" / "selection.json", {"trial": OTHER, "name": delivered.name})
    return patient, delivered


def a_tracker_again(patient: Patient) -> None:
    """Close the study's run, which a tracker that is opened sets to RUNNING."""
    a_tracker(patient.home, "toy").close_study(status="FINISHED", metrics={}, tags={})


def test_trainings_beside_the_trials_are_no_strangers(confirmed: tuple[Patient, Path]) -> None:
    patient, _ = confirmed
    a_tracker_again(patient)
    assert patient.found() == []


def test_a_training_beside_the_trials_without_its_run_is_sent_anew(confirmed: tuple[Patient, Path]) -> None:
    patient, delivered = confirmed
    a_tracker_again(patient)
    patient.client.delete_run(read_json(delivered / "mirror.json")["run_id"])
    found: Found = [("I3", delivered.name, "it has no run in MLflow")]
    assert_mended(patient, found, f"send to MLflow again {delivered}")


def test_a_model_that_is_not_delivered_is_removed_and_the_delivered_one_must_be_whole(
    confirmed: tuple[Patient, Path],
) -> None:
    patient, delivered = confirmed
    a_tracker_again(patient)
    other = delivered.with_name(f"confirm-{BEST:05d}-1")
    shutil.copytree(delivered, other)
    (other / "mirror.json").unlink()
    write_json(other / "trial.json", read_json(other / "trial.json") | {"name": other.name})
    a_tracker(patient.home, "toy").sync_trial(other)
    a_tracker_again(patient)
    what = f"{other / 'model'} is kept, and the best trial is {BEST}"
    assert_mended(patient, [("I9", other.name, what)], f"remove {other / 'model'}")
    (delivered / "model" / "model.safetensors").write_text("other weights")
    (_, which, said) = patient.found()[0]
    assert which == delivered.name
    assert said.startswith("the best model is not whole: ")
