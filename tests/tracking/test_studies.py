"""The study's own run, and what stands beside its trials."""

from pathlib import Path

from mlflow import MlflowClient

from pipelines.files import read_json, write_json

from .mirrored import STUDY, Opened, a_trial, only_trial, points, runs_of


def test_the_studys_run_ends_with_its_figures_and_files(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "spec.json").write_text("{}")
    for _ in range(2):  # the second time, after promotion alone was done again
        tracker = opened()
        tracker.log_study_files(tmp_path / "report")
        tracker.close_study(status="FINISHED", metrics={"best/accuracy": 0.9}, tags={"hpo.result": "version 1"})
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert points(client, run) == {"best/accuracy": [(0, 0.9)]}
    assert run.data.tags["hpo.result"] == "version 1"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["spec.json"]


def test_a_study_that_is_stopped_waits(client: MlflowClient, opened: Opened) -> None:
    opened().close_study(status="SCHEDULED", metrics={}, tags={})
    assert runs_of(client)[0].info.status == "SCHEDULED"


def test_artifacts_lie_below_the_home_unless_a_server_keeps_them(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    experiment = client.get_experiment(opened().experiment)
    assert experiment.artifact_location == (tmp_path / "artifacts" / STUDY).as_uri()


def test_what_befell_a_trial_is_a_tag_of_its_run(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    directory = a_trial(tmp_path, notes=["diverged at step 4, in bf16", "memory ran out at step 9"])
    opened().sync_trial(directory)
    assert only_trial(client).data.tags["hpo.notes"] == "diverged at step 4, in bf16\nmemory ran out at step 9"


def test_a_training_beside_the_trials_has_a_run_of_its_own(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    def beside(home: Path) -> Path:
        directory = a_trial(home)
        record = read_json(directory / "trial.json")
        about = {"kind": "confirmation", "name": "confirm-00003-1", "about": "Trial 3 with a fresh seed"}
        write_json(directory / "trial.json", {key: record[key] for key in record if key != "number"} | about)
        return directory.rename(home / "confirm-00003-1")

    directory, tracker = beside(tmp_path), opened()
    of_trial = tracker.sync_trial(a_trial(tmp_path))
    run_id = tracker.sync_trial(directory)
    assert run_id != of_trial
    (directory / "mirror.json").unlink()  # as after a lost reply
    assert opened().sync_trial(directory) == run_id
    run = client.get_run(run_id)
    wanted = {"hpo.run": "confirm-00003-1", "hpo.kind": "confirmation", "hpo.state": "COMPLETE"}
    assert wanted.items() <= run.data.tags.items()
    assert "hpo.trial" not in run.data.tags
    assert run.info.run_name == f"{STUDY}-confirm-00003-1"
    assert run.data.tags["mlflow.note.content"] == "Trial 3 with a fresh seed"
