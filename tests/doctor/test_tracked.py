"""What the doctor finds in MLflow."""

import pytest
from mlflow.entities import Metric

from hpo.doctor import examine, treat
from hpo.places import Places
from tests.patients import Found, Patient

from .findings import BEST, OTHER, PRUNED, assert_advised, assert_mended

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_second_run_of_a_trial_is_deleted_and_the_mirrored_one_kept(patient: Patient) -> None:
    client, kept = patient.client, patient.run_id(OTHER)
    tags = client.get_run(kept).data.tags
    twin = client.create_run(client.get_run(kept).info.experiment_id, start_time=1, tags=tags).info.run_id
    found: Found = [("I3", OTHER, f"it has 2 runs; {kept} is the one that is kept")]
    assert_mended(patient, found, f"delete the MLflow run {twin}")
    assert client.get_run(kept).info.lifecycle_stage == "active"


def test_of_two_runs_that_nobody_mirrors_the_older_one_is_kept(patient: Patient) -> None:
    client, older = patient.client, patient.run_id(OTHER)
    (patient.trial(OTHER) / "mirror.json").unlink()
    tags = client.get_run(older).data.tags
    twin = client.create_run(client.get_run(older).info.experiment_id, tags=tags).info.run_id
    found: Found = [("I3", OTHER, f"it has 2 runs; {older} is the one that is kept")]
    assert_mended(patient, found, f"delete the MLflow run {twin}")


def test_a_run_of_hpo_tokenizers_is_left_alone(patient: Patient) -> None:
    experiment = patient.client.get_experiment_by_name("toy")  # as if the study were called `tokenizers`
    assert experiment is not None
    run_id = patient.client.create_run(experiment.experiment_id, tags={"hpo.kind": "tokenizers"}).info.run_id
    assert patient.found() == []
    patient.client.delete_run(run_id)


def test_a_run_of_no_trial_is_deleted(patient: Patient) -> None:
    experiment = patient.client.get_experiment_by_name("toy")
    assert experiment is not None
    run_id = patient.client.create_run(experiment.experiment_id, run_name="stray").info.run_id
    what = f"run {run_id} (stray) is of no trial: its tags hpo.study and hpo.trial do not say which"
    assert_mended(patient, [("I3", None, what)], f"delete the MLflow run {run_id}")


def test_a_second_run_of_the_study_is_deleted(patient: Patient) -> None:
    client = patient.client
    kept = client.get_run(patient.parent())
    twin = client.create_run(kept.info.experiment_id, start_time=1, tags=kept.data.tags).info.run_id
    what = f"the study has 2 runs of its own; {patient.parent()} is the one that is kept"
    assert_mended(patient, [("I3", None, what)], f"delete the MLflow run {twin}")


def test_a_run_that_is_missing_is_sent_anew(patient: Patient) -> None:
    before = patient.run_id(OTHER)
    patient.client.delete_run(before)
    assert_mended(patient, [("I3", OTHER, "it has no run in MLflow")], f"send to MLflow again {patient.trial(OTHER)}")
    run = patient.client.get_run(patient.run_id(OTHER))
    assert run.info.run_id != before
    assert run.data.tags["version.torch"] == "2.13.0"
    assert run.data.tags["mlflow.parentRunId"] == patient.parent()


def test_a_study_without_a_run_of_its_own_is_found(patient: Patient) -> None:
    patient.client.delete_run(patient.parent())
    found: Found = [("I3", None, "the study has no run of its own in MLflow")]
    assert_advised(patient, found, "run the same command again to make it")


def test_a_study_that_was_not_closed_is_found(patient: Patient) -> None:
    patient.client.update_run(patient.parent(), status="RUNNING")
    found: Found = [("I4", None, f"all trials are finished, the study's run {patient.parent()} is RUNNING")]
    assert_advised(patient, found, "run the same command again: it ends the study and promotes the winner")


def test_a_wrong_status_is_set_right(patient: Patient) -> None:
    patient.client.set_terminated(patient.run_id(PRUNED), status="FINISHED")
    what = f"trial.json says PRUNED, run {patient.run_id(PRUNED)} is FINISHED, its tag hpo.state PRUNED"
    assert_mended(patient, [("I4", PRUNED, what)], f"send to MLflow again {patient.trial(PRUNED)}")
    assert patient.client.get_run(patient.run_id(PRUNED)).info.status == "KILLED"


def test_steps_that_mlflow_lacks_are_sent(patient: Patient) -> None:
    delete = "DELETE FROM metrics WHERE run_uuid = ? AND key = 'train/loss' AND step IN (3, 5)"
    patient.sql("mlflow.db", delete, patient.run_id(BEST))
    what = "train/loss at step 3 (and 1 more points) is missing in MLflow"
    assert_mended(patient, [("I5", BEST, what)], f"send to MLflow again {patient.trial(BEST)}")


def test_a_final_value_that_mlflow_lacks_is_sent(patient: Patient) -> None:
    for table in ("metrics", "latest_metrics"):
        delete = f"DELETE FROM {table} WHERE run_uuid = ? AND key = 'objective/accuracy'"
        patient.sql("mlflow.db", delete, patient.run_id(BEST))
    what = "objective/accuracy is missing in MLflow"
    assert_mended(patient, [("I6", BEST, what)], f"send to MLflow again {patient.trial(BEST)}")


def test_a_doubled_step_is_found_and_the_advice_mends_it(patient: Patient) -> None:
    run_id = patient.run_id(OTHER)
    patient.client.log_batch(run_id, metrics=[Metric("train/loss", 1 / 3, 1, 3)])
    found: Found = [("I5", OTHER, "train/loss at step 3 stands more than once in MLflow")]
    assert_advised(patient, found, f"delete run {run_id} in MLflow, then --fix sends the whole trial to a new one")
    patient.client.delete_run(run_id)
    said, after = patient.treated()
    assert said == [f"study toy: send to MLflow again {patient.trial(OTHER)}: done"]
    assert after.findings == []


def test_a_step_that_was_never_trained_is_found(patient: Patient) -> None:
    patient.client.log_batch(patient.run_id(OTHER), metrics=[Metric("train/loss", 0.5, 1, 99)])
    assert patient.found() == [("I5", OTHER, "train/loss at step 99 is in MLflow and not in the journal")]


def test_a_point_of_another_value_is_found(patient: Patient) -> None:
    update = "UPDATE metrics SET value = 9.0 WHERE run_uuid = ? AND key = 'train/loss' AND step = 4"
    patient.sql("mlflow.db", update, patient.run_id(OTHER))
    assert patient.found() == [("I5", OTHER, "train/loss at step 4 is 9.0 in MLflow, 0.25 in the journal")]


def test_another_final_value_is_found(patient: Patient) -> None:
    update = "UPDATE metrics SET value = 0.0 WHERE run_uuid = ? AND key = 'objective/accuracy'"
    patient.sql("mlflow.db", update, patient.run_id(BEST))
    (value,) = patient.record(BEST)["values"]
    assert patient.found() == [("I6", BEST, f"objective/accuracy is 0.0 in MLflow, Optuna says {value}")]


@pytest.mark.parametrize("uri", ["sqlite:///{home}/none.db", "http://127.0.0.1:9"])
def test_all_else_is_examined_while_mlflow_is_away(patient: Patient, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    places = Places(patient.home, uri.format(home=patient.home), patient.places.storage)
    (patient.trial(OTHER) / ".model.1.tmp").mkdir()
    found = examine(places)
    assert [one.invariant for one in found.findings] == ["I9", "places"]
    assert found.findings[1].what.startswith(f"MLflow does not answer (tracking {places.tracking}: ")
    assert [one.runs for one in found.examined] == [None]
    said: list[str] = []
    after = treat(places, say=said.append)
    assert said == [f"study toy: remove {patient.trial(OTHER)}/.model.1.tmp: done"]
    assert [one.invariant for one in after.findings] == ["places"]
    assert not (patient.home / "none.db").exists()


def test_a_tracker_that_fails_while_it_is_asked_is_one_finding(patient: Patient) -> None:
    patient.sql("mlflow.db", "ALTER TABLE metrics RENAME TO lost")
    (patient.trial(OTHER) / ".model.1.tmp").mkdir()
    leftover, away = patient.found()
    assert leftover[0] == "I9"
    assert away[2].startswith(f"MLflow does not answer (tracking {patient.places.tracking}: ")
