"""What the doctor finds on disk."""

import json

import pytest

from tests.faults import shows
from tests.patients import Found, Patient

from .findings import BEST, FAILED, OTHER, a_checkpoint, assert_advised, assert_mended, flip_a_bit

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_torn_line_of_a_journal_is_cut(patient: Patient) -> None:
    journal = patient.trial(OTHER) / "progress.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"kind": "step", "st')
    assert_mended(
        patient, [("I9", OTHER, f"the last line of {journal} is torn")], f"cut the torn last line of {journal}"
    )
    assert journal.read_bytes() == whole


def test_a_step_that_stands_twice_in_a_journal_is_found(patient: Patient) -> None:
    journal = patient.trial(OTHER) / "progress.jsonl"
    first, *others = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([first, first, *others]))
    found: Found = [("I5", OTHER, f"{journal}: line 2: step 1 comes after step 1")]
    assert_advised(patient, found, "delete the line that is one too many")


def test_a_step_that_a_journal_lost_is_found(patient: Patient) -> None:
    journal = patient.trial(OTHER) / "progress.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert json.loads(lines[3])["step"] == 3
    journal.write_text("".join(lines[:3] + lines[4:]))
    assert patient.found() == [
        ("I5", OTHER, "train/loss at step 3 is in MLflow and not in the journal"),
        ("I5", OTHER, f"{journal}: step 3 is missing"),
    ]


def test_a_damaged_line_of_a_journal_is_found(patient: Patient) -> None:
    journal = patient.trial(OTHER) / "progress.jsonl"
    journal.write_text("so\n" + journal.read_text())
    found: Found = [("I9", OTHER, f"{journal}: line 1 is damaged")]
    assert_advised(patient, found, "restore the file from a backup, or delete that line")


def test_leftovers_are_removed(patient: Patient) -> None:
    trial, study = patient.trial(BEST) / ".model.1a.tmp", patient.home / "work/toy/.data.2b.tmp"
    for leftover in (trial, study):
        leftover.mkdir()
        (leftover / "half").touch()
    found: Found = [("I9", None, f"{leftover} is left of a write that was cut short") for leftover in (study, trial)]
    assert_mended(patient, found, f"remove {study}", f"remove {trial}")


def test_checkpoints_of_a_finished_trial_are_removed(patient: Patient) -> None:
    home = patient.trial(FAILED) / "checkpoints"
    a_checkpoint(home / "step-00000003")
    assert_mended(patient, [("I9", FAILED, f"{home} is kept, and the trial is finished")], f"remove {home}")


@pytest.mark.parametrize("name", ["model", "final"])
def test_a_model_that_is_not_the_best_is_removed(name: str, patient: Patient) -> None:
    model = patient.trial(OTHER) / name
    model.mkdir()
    assert_mended(patient, [("I9", OTHER, f"{model} is kept, and the best trial is {BEST}")], f"remove {model}")


@shows("damaged file", "I")
def test_a_best_model_that_is_not_whole_is_found(patient: Patient) -> None:
    weights = patient.trial(BEST) / "model" / "model.safetensors"
    flip_a_bit(weights)
    what = f"the best model is not whole: {weights}: damaged (its content is not what was written)"
    advice = "hpo pull gets it back if it was registered; else train it again in a new study"
    assert_advised(patient, [("I9", BEST, what)], advice)


def test_a_damaged_mirror_file_is_removed(patient: Patient) -> None:
    mirror = patient.trial(OTHER) / "mirror.json"
    mirror.write_text("{")
    assert_mended(patient, [("I9", OTHER, f"{mirror} is damaged")], f"remove {mirror}")


def test_a_record_that_cannot_be_read_is_found(patient: Patient) -> None:
    record = patient.trial(OTHER) / "trial.json"
    record.write_text("{")
    found: Found = [
        ("I4", OTHER, "Optuna says COMPLETE, trial.json says nothing"),
        ("I9", OTHER, f"{record} is damaged"),
    ]
    backup = "restore trial.json from a backup: Optuna decides, and nothing writes it anew"
    assert_advised(patient, found, backup, "restore it from a backup, or move the trial's directory away")


def test_unsound_and_superfluous_checkpoints_are_removed(resting: tuple[Patient, int]) -> None:
    patient, number = resting
    home = patient.trial(number) / "checkpoints"
    (old,) = home.iterdir()
    for step in (2, 3):
        a_checkpoint(home / f"step-{step:08d}")
    flip_a_bit(home / "step-00000003" / "model.safetensors")
    found: Found = [
        ("I9", number, f"checkpoint {home}/step-00000003 is not what its manifest says"),
        ("I9", number, f"3 checkpoints are kept, 2 are enough; {old} is too old"),
    ]
    assert_mended(patient, found, f"remove {old}", f"remove {home}/step-00000003")
