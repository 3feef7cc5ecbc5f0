"""A trial becomes one run that says everything, however often it is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipelines.config import RunConfig, flatten
from pipelines.files import write_json
from tests.faults import shows

from .mirrored import STUDY, Opened, a_trial, go_on, only_trial, points, runs_of


def test_a_trial_becomes_one_run_that_says_everything(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    directory = a_trial(tmp_path)
    go_on(directory, range(4))
    (directory / "artifacts").mkdir()
    write_json(directory / "artifacts" / "mistakes.json", {"columns": ["text"], "data": [["dull"]]})
    tracker = opened()
    run_id = tracker.sync_trial(directory)

    run = only_trial(client)
    assert run.info.run_id == run_id
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        1_700_000_000_000,
        1_700_000_009_000,
    )
    assert run.data.params == {key: str(value) for key, value in flatten(RunConfig().model_dump()).items()}
    assert points(client, run) == {
        "train/loss": [(step, 1 / (step + 1)) for step in range(4)],
        "train/learning_rate": [(step, 1e-4) for step in range(4)],
        "select/accuracy": [(1, 0.1), (3, 0.3)],
        "system/worker_memory_megabytes": [(3, 500.0)],
        "objective/accuracy": [(0, 0.9)],
        "searched/train.learning_rate": [(0, 5e-5)],
        "seconds/train": [(0, 1.5)],
        "seconds/wall": [(0, 2.0)],
        "latency_ms": [(0, 2.5)],
        "parameters": [(0, 22.0)],
    }
    tags = run.data.tags
    assert (tags["hpo.study"], tags["hpo.trial"], tags["hpo.state"]) == (STUDY, "3", "COMPLETE")
    assert "hpo.reason" not in tags
    assert tags["version.torch"] == "2.13.0"
    assert tags["mlflow.runName"] == f"{STUDY}-003"
    assert tags["mlflow.note.content"] == f"Trial 3 of study {STUDY}: train.learning_rate = 5e-05"
    assert tags["mlflow.parentRunId"] == tracker.parent
    assert [file.path for file in client.list_artifacts(run_id)] == ["mistakes.json"]
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "mistakes.json", "type": "table"}]


def test_every_split_with_rows_is_an_input_of_every_run(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    opened().sync_trial(a_trial(tmp_path))
    for run in runs_of(client):
        found = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
        assert set(found) == {"train", "select", "test"}
        assert {dataset.name for dataset in found.values()} == {"toy"}
        assert len({dataset.digest for dataset in found.values()}) == 3
        assert json.loads(found["train"].profile) == {"rows": 8, "classes": 2}
        assert json.loads(found["train"].source) == {"uri": "/data/toy.csv"}


def test_a_study_has_one_run_of_its_own_however_often_it_is_opened(client: MlflowClient, opened: Opened) -> None:
    first, second = opened(), opened(params={"budget.trials": 9, "seed": 0}, description="Another text")
    assert first.parent == second.parent
    (run,) = runs_of(client)
    assert run.data.tags["hpo.kind"] == "study"
    assert run.data.tags["mlflow.note.content"] == "Another text"
    assert run.data.params == {"budget.trials": "4", "seed": "0"}, "MLflow refuses to change a parameter"
    assert run.info.status == "RUNNING"
    assert "mlflow.parentRunId" not in run.data.tags
    assert len(run.inputs.dataset_inputs) == 3


@shows("tracker away", "C")
def test_a_lost_reply_leaves_one_run(
    client: MlflowClient, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's client sends a request again when no answer came, although the server had done it."""
    real = MlflowClient.create_run

    def twice(self: MlflowClient, *args: Any, **kwargs: Any) -> Run:
        real(self, *args, **kwargs)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", twice)
    tracker = opened()
    run_id = tracker.sync_trial(a_trial(tmp_path))
    alive = [run for run in runs_of(client) if run.info.lifecycle_stage == "active"]
    assert sorted(run.data.tags["hpo.kind"] for run in alive) == ["study", "trial"]
    assert run_id in {run.info.run_id for run in alive}


def test_sending_twice_stores_once(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    directory = a_trial(tmp_path)
    go_on(directory, range(4))
    tracker = opened()
    run_id = tracker.sync_trial(directory)
    before = points(client, only_trial(client))
    assert tracker.sync_trial(directory) == run_id
    assert opened().sync_trial(directory) == run_id
    (directory / "mirror.json").unlink()
    assert opened().sync_trial(directory) == run_id
    run = only_trial(client)
    assert points(client, run) == before
    assert len(run.inputs.dataset_inputs) == 3


def test_a_trial_that_is_whole_is_not_sent_again(
    client: MlflowClient, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, directory = opened(), a_trial(tmp_path)
    run_id = tracker.sync_trial(directory)
    monkeypatch.setattr(tracker, "_client", None)  # nothing may be asked of it
    assert tracker.sync_trial(directory) == run_id


@pytest.mark.parametrize(
    ("state", "status", "ended"),
    [
        ("RUNNING", "RUNNING", False),
        ("INTERRUPTED", "SCHEDULED", False),
        ("COMPLETE", "FINISHED", True),
        ("PRUNED", "KILLED", True),
        ("FAIL", "FAILED", True),
    ],
)
def test_a_run_has_the_trials_true_status(
    client: MlflowClient, opened: Opened, tmp_path: Path, state: str, status: str, ended: bool
) -> None:
    opened().sync_trial(a_trial(tmp_path, state))
    run = only_trial(client)
    assert run.info.status == status
    assert (run.info.end_time is not None) == ended
    assert run.data.tags["hpo.state"] == state
    assert run.data.tags.get("hpo.reason") == (None if state == "COMPLETE" else "pruned: behind the others")


def test_a_trial_that_goes_on_after_an_interruption_stays_one_run(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    directory = a_trial(tmp_path, "RUNNING", reason=None)
    first = opened()
    go_on(directory, range(3))
    first.sync_trial(directory)
    a_trial(tmp_path, "INTERRUPTED", reason=None, updated=1_700_000_001_000)
    first.sync_trial(directory)
    assert only_trial(client).info.status == "SCHEDULED"

    second = opened()  # another process; the worker repeats the steps since its checkpoint
    a_trial(tmp_path, "RUNNING", reason=None, updated=1_700_000_002_000)
    go_on(directory, range(1, 6))
    second.sync_trial(directory)
    assert only_trial(client).info.status == "RUNNING"
    a_trial(tmp_path)
    second.sync_trial(directory)
    run = only_trial(client)
    assert (run.info.status, run.data.tags["hpo.state"]) == ("FINISHED", "COMPLETE")
    assert points(client, run)["train/loss"] == [(step, 1 / (step + 1)) for step in range(6)]
    assert points(client, run)["select/accuracy"] == [(1, 0.1), (3, 0.3), (5, 0.5)]


def test_a_torn_last_line_of_the_journal_waits_for_its_rest(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    directory, tracker = a_trial(tmp_path, "RUNNING"), opened()
    go_on(directory, range(2))
    with (directory / "progress.jsonl").open("a") as journal:
        journal.write('{"kind": "step", "step": 2, "time": 1700000000000, "values": {"lo')
        journal.flush()
        tracker.sync_trial(directory)
        assert points(client, only_trial(client))["train/loss"] == [(0, 1.0), (1, 0.5)]
        journal.write('ss": 0.25}}\n')
    tracker.sync_trial(directory)
    assert points(client, only_trial(client))["train/loss"] == [(0, 1.0), (1, 0.5), (2, 0.25)]
