"""What the doctor finds in Optuna's storage."""

import shutil

import optuna
import pytest

from tests.patients import Found, Patient

from .findings import FAILED, OTHER, PRUNED, assert_advised, assert_mended

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_trial_too_many_is_found_and_an_imported_one_is_none(patient: Patient) -> None:
    for attributes in ({"imported_from": "other/3"}, {}):
        patient.study.add_trial(optuna.trial.create_trial(value=0.1, user_attrs=attributes))
    said = "Optuna says COMPLETE, trial.json says nothing"
    assert_advised(
        patient,
        [("I1", None, "5 trials are finished, the budget is 4"), ("I4", 5, said)],
        "if the budget was lowered, this is why: budget.trials=5 names what there is",
        "restore trial.json from a backup: Optuna decides, and nothing writes it anew",
    )


def test_a_failure_without_its_kind_is_found(patient: Patient) -> None:
    patient.sql("studies.db", "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'reason'", '"it broke"')
    found = [("I1", FAILED, "FAIL without a reason of the form `kind: cause` ('it broke')")]
    assert_advised(patient, found, "look into its error.txt and the workers' logs")


def test_a_pruned_trial_without_a_reason_is_found(patient: Patient) -> None:
    delete = "DELETE FROM trial_user_attributes WHERE key = 'reason' AND value_json LIKE '%infeasible%'"
    patient.sql("studies.db", delete)
    assert_advised(patient, [("I1", PRUNED, "PRUNED without a reason")], "its record trial.json may say more")


def test_a_proposal_that_waits_after_the_end_is_found(patient: Patient) -> None:
    patient.study.enqueue_trial({})
    assert_advised(patient, [("I2", 4, "the study is over, this trial is WAITING")], "run the same command again")


def test_optuna_is_told_the_end_that_the_next_session_would_tell(patient: Patient) -> None:
    patient.sql("studies.db", "UPDATE trials SET state = 'RUNNING' WHERE number = ?", OTHER)
    before = patient.record(OTHER)
    found: Found = [
        ("I1", None, "its MLflow run is FINISHED with 3 of 4 trials"),
        ("I2", OTHER, "the study is over, this trial is RUNNING"),
        ("I4", OTHER, "trial.json says COMPLETE, Optuna says RUNNING"),
    ]
    assert_mended(patient, found, f"tell Optuna the end of {patient.trial(OTHER)}")
    assert patient.study.trials[OTHER].values == before["values"]


def test_optuna_is_not_told_what_the_next_session_might_decide_otherwise(patient: Patient) -> None:
    patient.sql("studies.db", "UPDATE trials SET state = 'RUNNING' WHERE number = ?", PRUNED)
    found: Found = [
        ("I1", None, "its MLflow run is FINISHED with 3 of 4 trials"),
        ("I2", PRUNED, "the study is over, this trial is RUNNING"),
        ("I4", PRUNED, "trial.json says PRUNED, Optuna says RUNNING"),
    ]
    assert_advised(patient, found, *["run the same command again"] * 3)


def test_a_record_of_another_state_than_optunas_is_found(patient: Patient) -> None:
    patient.record(FAILED, state="COMPLETE")
    run = f"run {patient.run_id(FAILED)} is FAILED, its tag hpo.state FAIL"
    assert patient.found() == [
        ("I4", FAILED, "Optuna says FAIL, trial.json says COMPLETE"),
        ("I4", FAILED, f"trial.json says COMPLETE, {run}"),
    ]


def test_a_value_that_differs_from_the_record_is_found(patient: Patient) -> None:
    (value,) = patient.record(OTHER)["values"]
    patient.sql("studies.db", "UPDATE trial_values SET value = 0.01 WHERE value = ?", value)
    advice = "one of the two was changed by hand: restore it from a backup"
    run = f"delete run {patient.run_id(OTHER)} in MLflow, then --fix sends the whole trial to a new one"
    found: Found = [
        ("I6", OTHER, f"Optuna says [0.01], trial.json says [{value}]"),
        ("I6", OTHER, f"Optuna says [0.01], result.json says [{value}]"),
        ("I6", OTHER, f"objective/accuracy is {value} in MLflow, Optuna says 0.01"),
    ]
    assert_advised(patient, found, advice, advice, run)


def test_a_report_that_is_not_finite_is_found(patient: Patient) -> None:
    update = "UPDATE trial_intermediate_values SET intermediate_value = NULL, intermediate_value_type = 'NAN' WHERE "
    which = "trial_id = (SELECT trial_id FROM trials WHERE number = ?) AND step = 64"
    patient.sql("studies.db", update + which, OTHER)
    found: Found = [("I6", OTHER, "its report at 64 training examples is not finite")]
    assert_advised(patient, found, "no later step can undo it; leave the trial out")


def test_a_study_that_optuna_lost_is_found(patient: Patient) -> None:
    optuna.delete_study(study_name="toy", storage=patient.places.storage)
    first, *others = patient.found()
    assert first == ("I1", None, "the ledger knows this study, Optuna's storage does not")
    unknown = [f"run {patient.run_id(number)} is of a trial that Optuna's storage does not know" for number in range(4)]
    assert others[:4] == [("I3", number, unknown[number]) for number in range(4)]


def test_a_directory_of_a_trial_that_optuna_does_not_know_is_found(patient: Patient) -> None:
    shutil.copytree(patient.trial(PRUNED), patient.trial(7))
    found: Found = [("I4", 7, f"{patient.trial(7)} is a trial that Optuna's storage does not know")]
    advice = "is HPO_STORAGE the database that it was run with? Else move the directory away"
    assert_advised(patient, found, advice)
