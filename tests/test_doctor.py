"""The doctor finds nothing in healthy studies, and each seeded defect in sick ones; what it mends is then healthy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from typer.testing import CliRunner

from hpo.cli import app
from hpo.doctor import Examination, examine, treat
from hpo.doctor import secrets as doctor_secrets
from hpo.executors.local import LocalExecutor
from hpo.history import PROMOTED, History, a_reign
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.places import Places
from hpo.records import write_side_record
from hpo.storage import best_trial
from hpo.study import Controller
from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ConfigError, StorageError
from pipelines.export import export_model, read_facts, seal
from pipelines.files import read_json, sha256, write_json
from pipelines.golden import write_golden
from pipelines.hpo_classifier import Classifier
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, register
from pipelines.segment import SegmentResult
from pipelines.tracking import Tracker
from tests.faults import shows
from tests.patients import Found, Patient, a_tracker, fill, keep, run, tuples
from tests.stub import a_spec, instruct, make_whole

BEST, FAILED, PRUNED, OTHER = range(4)
HALVING: dict[str, Any] = {"schedule": {"name": "halving", "floor": 10, "factor": 3}, "pruner": None}


pytestmark = pytest.mark.usefixtures("quick_sqlite")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one home of all these tests, filled anew for each: MLflow takes long to open another."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def empty(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept")
    shutil.copy(empty_mlflow, kept / "mlflow.db")
    return kept


@pytest.fixture(scope="module")
def finished(home: Path, empty: Path, executor: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has come to its end: two trials COMPLETE, one FAIL, one PRUNED."""
    patient = fill(home, empty)
    instruct(home / "work" / "toy", faults={str(FAILED): "raise", str(PRUNED): "infeasible"})
    best = best_trial(run(home, executor).study)
    assert best is not None
    assert best.number == BEST
    make_whole(patient.trial(BEST) / "model")
    return keep(home, tmp_path_factory)


@pytest.fixture
def patient(home: Path, finished: Path) -> Patient:
    """The finished study."""
    return fill(home, finished)


@pytest.fixture(scope="module")
def promoted(home: Path, finished: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a real model, which is champion."""
    patient = fill(home, finished)
    model, labels = patient.trial(BEST) / "model", ("bad", "good")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=labels)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, model, labels=labels, tokens=TokensConfig(max_length=12))
    tags = {"hpo.study": "toy", "hpo.trial": str(BEST), "hpo.weights": sha256(model / "model.safetensors")}
    key = f"toy/{BEST}/abc"
    version = register(patient.client, "sentiment", Candidate(key, patient.run_id(BEST), model, "", tags))
    patient.client.set_registered_model_alias("sentiment", "champion", version.version)
    ledger = Ledger(patient.places.storage)
    history = History(ledger)
    made = {"alias": "champion", "version": "1", "verdict": {"wins": True}}
    reign = a_reign("sentiment", version="1", previous=None, kind=PROMOTED, why="the first", key=key)
    history.decide(model="sentiment", key=key, decision=made, reign=reign)
    history.close("sentiment")
    spec = a_spec(register_as="sentiment")
    ledger.open_study("toy", {}, spec=spec.model_dump_json())
    return keep(home, tmp_path_factory)


@pytest.fixture
def registered(home: Path, promoted: Path) -> Patient:
    """The finished study whose best model is champion."""
    return fill(home, promoted)


@pytest.fixture(scope="module")
def stopped(home: Path, empty: Path, executor: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A halved study that was stopped while trials rest; the stub's empty checkpoints are made sound."""
    fill(home, empty)
    instruct(home / "work" / "toy", pace=0.02)

    def stop(controller: Controller) -> None:
        if controller.paused >= 2:
            controller.request_stop(2)

    run(home, executor, until_stopped=True, show=stop, **HALVING, budget={"trials": 9})
    for weights in (home / "work").glob("toy/trial-*/model/weights"):
        make_whole(weights.parent)
    for stub in (home / "work").glob("toy/trial-*/checkpoints/step-*"):
        stub.unlink()
        a_checkpoint(stub)
    return keep(home, tmp_path_factory)


def a_checkpoint(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_text("weights")
    files = {"model.safetensors": {"bytes": 7, "sha256": sha256(directory / "model.safetensors")}}
    write_json(directory / "manifest.json", {"files": files})


@pytest.fixture
def resting(home: Path, stopped: Path) -> tuple[Patient, int]:
    """The stopped study, and a trial of it that rests."""
    patient = fill(home, stopped)
    records = [read_json(file) for file in sorted(patient.home.glob("work/toy/trial-*/trial.json"))]
    return patient, next(record["number"] for record in records if record["state"] == "PAUSED")


def assert_mended(patient: Patient, found: Found, *said: str) -> None:
    """Just this is found, `--fix` says just these things that it did, and then all is well."""
    assert patient.found() == found
    done, after = patient.treated()
    assert done == [f"study toy: {line}: done" for line in said]
    assert after.findings == []


def assert_advised(patient: Patient, found: Found, *advice: str) -> None:
    """Just this is found, `--fix` does nothing about it, and the findings say what a person can do."""
    done, after = patient.treated()
    assert done == []
    assert tuples(after) == found
    assert [one.how for one in after.findings] == [*advice]


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


# What stands in Optuna's storage


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


# What stands in MLflow


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


# What lies on disk


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


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


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


# What is registered


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


# Trainings beside the trials


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


# Who is at work, and what must not be told


def test_a_process_that_nobody_answers_for_is_found(patient: Patient) -> None:
    log = patient.home / "work/toy/logs/worker-0.log"
    log.parent.mkdir()
    code = f"import sys; file = open({str(log)!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    orphan = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == "open\n"
        found: Found = [("I14", None, f"process {orphan.pid} writes to {log}, and nobody runs the study")]
        assert_advised(patient, found, f"end it: kill {orphan.pid}")
        orphan.kill()
    assert patient.found() == []


def test_passwords_in_records_are_found_and_never_shown(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "c4nary-in-a-coal-mine"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", canary)
    patient.client.set_tag(patient.run_id(OTHER), "note", f"http://me:{canary}@mlflow")
    (patient.trial(FAILED) / "error.txt").write_text(f"login as me with {canary} was refused")
    places = [(OTHER, f"run {patient.run_id(OTHER)}"), (FAILED, f"{patient.trial(FAILED)}/error.txt")]
    found: Found = [
        ("I16", trial, f"{place} holds the password of MLFLOW_TRACKING_PASSWORD") for trial, place in places
    ]
    advice = ["change this password, then take it out of the record"] * 2
    assert_advised(patient, found, *advice)
    assert canary not in json.dumps(examine(patient.places).as_json())


@pytest.mark.parametrize(
    ("url", "text", "expected"),
    [
        ("postgresql://me:long-enough@host/x", "it is long-enough", True),
        ("postgresql://me:a/b@c%21def@host/x", "it is a/b@c!def", True),
        ("postgresql://host/x?user=me&password=long-enough&x=y", "long-enough", True),
        ("postgresql://me:short@host/x", "a short text", False),
        ("postgresql://me:short@host/x", "postgresql://me:short@host/x", True),
        ("postgresql://me@host/x", "postgresql://me@host/x", False),
        ("sqlite:///x.db", "sqlite:///x.db", False),
    ],
)
def test_a_password_is_known_from_its_url(url: str, text: str, expected: bool) -> None:
    secrets = doctor_secrets._secrets(Places(Path("/home"), "sqlite:///y.db", url))
    assert any(doctor_secrets._holds(text, secret) for secret in secrets.values()) is expected


# Studies that are being run


def test_a_study_that_is_being_run_is_not_judged_for_what_is_unfinished(
    home: Path, empty: Path, executor: LocalExecutor
) -> None:
    patient, looks = fill(home, empty), list[Examination]()
    instruct(home / "work" / "toy", pace=0.05)

    def look(controller: Controller) -> None:
        if len(looks) < 4 and any(active.progress for active in controller.running.values()):
            looks.append(examine(patient.places))

    with leased(Ledger(patient.places.storage), "toy"):
        run(home, executor, show=look)
    assert [found.findings for found in looks] == [[]] * 4
    assert {one.note for found in looks for one in found.examined} == {
        "it is being run: only what must hold even then was judged"
    }


def test_what_must_hold_even_then_is_found_in_a_study_that_is_being_run(patient: Patient) -> None:
    (patient.trial(OTHER) / ".model.1.tmp").mkdir()
    patient.client.log_batch(patient.run_id(OTHER), metrics=[Metric("train/loss", 1 / 3, 1, 3)])
    with leased(Ledger(patient.places.storage), "toy"):
        assert patient.found() == [("I5", OTHER, "train/loss at step 3 stands more than once in MLflow")]


def test_a_study_that_is_being_run_is_not_mended(patient: Patient) -> None:
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    said: list[str] = []
    with leased(Ledger(patient.places.storage), "toy"):
        with pytest.raises(StorageError) as refused:
            treat(patient.places, study="toy", say=said.append)
        treat(patient.places, say=said.append)
    assert str(refused.value).startswith("study 'toy' is being run by process ")
    assert said == ["study toy: it is being run, and nothing of it was mended"]
    assert leftover.exists()


def test_a_remedy_that_fails_is_said_and_the_others_are_tried(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    patient.client.set_terminated(patient.run_id(PRUNED), status="FINISHED")

    def refuse(self: Tracker, directory: Path) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr(Tracker, "sync_trial", refuse)
    said, after = patient.treated()
    assert said == [
        f"study toy: remove {leftover}: done",
        f"study toy: could not send to MLflow again {patient.trial(PRUNED)}: the disk is full",
    ]
    assert [one.invariant for one in after.findings] == ["I4"]


# The command


def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find this home."""
    monkeypatch.setenv("HPO_HOME", str(home))


def test_the_command_prints_findings_and_exits_with_4_until_they_are_mended(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(patient.home, monkeypatch)
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == 4
    assert json.loads(shown.stdout) == {
        "ok": False,
        "findings": [
            {
                "invariant": "I9",
                "name": "every file whole, and none that nobody needs",
                "study": "toy",
                "trial": None,
                "what": f"{leftover} is left of a write that was cut short",
                "mendable": True,
                "how": f"--fix: remove {leftover}",
            }
        ],
        "examined": {"studies": 1, "trials": 4, "runs": 5, "checkpoints": 0, "versions": 0},
    }
    shown = CliRunner().invoke(app, ["doctor", "toy"])
    assert shown.exit_code == 4
    assert "all is well" not in shown.stdout
    assert "what is wrong" in shown.stdout
    assert ".model.1.tmp" in shown.stdout
    shown = CliRunner().invoke(app, ["doctor", "--fix", "toy"])
    assert (shown.exit_code, shown.stdout.splitlines()) == (
        0,
        [
            f"study toy: remove {leftover}: done",
            "toy: 4 trials, 5 runs, 0 checkpoints, 0 registered versions: all is well",
        ],
    )


def test_an_unknown_study_is_refused_with_those_that_there_are(patient: Patient) -> None:
    with pytest.raises(ConfigError) as unknown:
        examine(patient.places, study="tuy")
    assert str(unknown.value) == "there is no study 'tuy'; did you mean toy?; there are: toy"


def test_an_empty_home_has_no_studies_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(tmp_path, monkeypatch)
    shown = CliRunner().invoke(app, ["doctor"])
    assert (shown.exit_code, shown.stdout) == (0, "no studies yet; try: hpo run quickstart\n")
    assert list(tmp_path.iterdir()) == []
