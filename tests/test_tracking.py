import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from pipelines import tracking
from pipelines.config import RunConfig, flatten
from pipelines.connection import connect, tracking_errors
from pipelines.data import Dataset, Split
from pipelines.errors import StorageError
from pipelines.files import read_json, write_json
from pipelines.journal import Journal
from pipelines.tracking import Tracker
from tests.faults import shows

DATA = Dataset(
    name="toy",
    source="/data/toy.csv",
    labels=("bad", "good"),
    splits={
        name: Split(["text"] * rows, np.zeros(rows, dtype=np.int64), [str(row) for row in range(rows)])
        for name, rows in {"train": 8, "select": 4, "calibrate": 0, "test": 4}.items()
    },
    digest="d" * 64,
    notes=(),
)
STUDY = "a.B_c-1"
Opened = Callable[..., Tracker]


@pytest.fixture
def client(tmp_path: Path, empty_mlflow: Path) -> MlflowClient:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return connect(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def opened(client: MlflowClient, tmp_path: Path) -> Opened:
    """A tracker as a new process has it."""

    def start(name: str = STUDY, **changes: Any) -> Tracker:
        tracker = Tracker(client, artifacts=tmp_path / "artifacts")
        plain = {"description": "What it is for", "params": {"budget.trials": 4}, "tags": {"version.torch": "2.13.0"}}
        tracker.open_study(name, **plain | changes)
        tracker.set_data(DATA)
        return tracker

    return start


def a_trial(home: Path, state: str = "COMPLETE", number: int = 3, **changes: Any) -> Path:
    """A trial's directory as controller and worker leave it."""
    directory = home / f"trial-{number:05d}"
    directory.mkdir(exist_ok=True)
    ended = state == "COMPLETE"
    record = {
        "study": STUDY,
        "number": number,
        "state": state,
        "reason": None if ended else "pruned: behind the others",
        "objective": ["accuracy"],
        "values": [0.9] if ended else None,
        "scores": {"accuracy": 0.9, "latency_ms": 2.5, "parameters": 22.0} if ended else {},
        "params": flatten(RunConfig().model_dump()),
        "searched": ["train.learning_rate"],
        "seconds": {"train": 1.5, "wall": 2.0},
        "started": 1_700_000_000_000,
        "updated": 1_700_000_009_000,
    }
    write_json(directory / "trial.json", record | changes)
    return directory


def go_on(directory: Path, steps: range) -> None:
    """What a worker appends to the journal."""
    journal = Journal(directory / "progress.jsonl")
    for step in steps:
        journal.append("step", step=step, values={"loss": 1 / (step + 1), "learning_rate": 1e-4})
        if step % 2:
            journal.append("evaluation", step=step, values={"accuracy": step / 10})
    journal.append("system", step=steps[-1], values={"worker_memory_megabytes": 500.0})
    journal.close()


def runs_of(client: MlflowClient, name: str = STUDY) -> list[Run]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL))


def points(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float]]]:
    """All points of all metrics of a run, as (step, value)."""
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in found) for name, found in history.items()}


def only_trial(client: MlflowClient) -> Run:
    trials = [run for run in runs_of(client) if run.data.tags["hpo.kind"] == "trial"]
    assert len(trials) == 1
    return trials[0]


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


class DownError(Exception):
    """The tracker went away."""


@shows("tracker away", "CGI")
@pytest.mark.parametrize("call", range(1, 12))
@pytest.mark.parametrize("after", [True, False])
def test_a_tracker_that_goes_away_in_the_middle_is_made_whole_by_the_next_process(
    client: MlflowClient, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    """The n-th call that writes fails, before it is done or after: then its reply is lost."""
    directory = a_trial(tmp_path)
    go_on(directory, range(4))
    (directory / "artifacts").mkdir()
    (directory / "artifacts" / "mistakes.json").write_text("{}")
    monkeypatch.setattr(tracking, "_PART", 5)
    tracker, count = opened(), [0]

    def failing(name: str) -> Callable[..., Any]:
        real = getattr(client, name)

        def write(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == call and not after:
                raise DownError
            reply = real(*args, **kwargs)
            if count[0] == call:
                raise DownError
            return reply

        return write

    names = ("create_run", "log_batch", "log_inputs", "log_artifacts", "set_tag", "update_run", "set_terminated")
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(client, name, failing(name))
        with pytest.raises(DownError):
            tracker.sync_trial(directory)
    opened().sync_trial(directory)
    run = only_trial(client)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == "5e-05"
    found = points(client, run)
    assert found["train/loss"] == [(step, 1 / (step + 1)) for step in range(4)]
    assert found["objective/accuracy"] == [(0, 0.9)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["mistakes.json"]
    assert len(run.inputs.dataset_inputs) == 3


def test_a_journal_longer_than_one_request_is_sent_in_parts(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    directory = a_trial(tmp_path, "RUNNING")
    go_on(directory, range(1100))
    opened().sync_trial(directory)
    assert len(points(client, only_trial(client))["train/loss"]) == 1100


def test_another_tracking_database_gets_all_of_the_trial(
    opened: Opened, tmp_path: Path, empty_mlflow: Path, client: MlflowClient
) -> None:
    directory = a_trial(tmp_path)
    go_on(directory, range(4))
    opened().sync_trial(directory)
    before = points(client, only_trial(client))
    shutil.copy(empty_mlflow, tmp_path / "another.db")
    another = connect(f"sqlite:///{tmp_path}/another.db")
    tracker = Tracker(another, artifacts=tmp_path / "artifacts")
    tracker.open_study(STUDY, description="", params={}, tags={})
    tracker.sync_trial(directory)
    assert points(another, only_trial(another)) == before
    assert read_json(directory / "mirror.json")["run_id"] == only_trial(another).info.run_id


def test_a_study_run_that_somebody_deleted_is_made_again_around_its_trials(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    first, directory = opened(), a_trial(tmp_path)
    run_id = first.sync_trial(directory)
    client.delete_run(first.parent)
    second = opened()
    assert second.parent != first.parent
    assert second.sync_trial(directory) == run_id
    assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == second.parent


def test_an_experiment_that_somebody_deleted_is_restored(client: MlflowClient, opened: Opened) -> None:
    first = opened()
    client.delete_experiment(first.experiment)
    assert opened().experiment == first.experiment


def test_an_experiment_that_another_session_creates_at_the_same_moment_is_found(
    client: MlflowClient, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicker, look = opened(), client.get_experiment_by_name
    answers = iter([None])  # it looks a moment too early
    monkeypatch.setattr(client, "get_experiment_by_name", lambda name: next(answers, look(name)))
    assert opened().experiment == quicker.experiment


def test_studies_do_not_find_each_others_trials(client: MlflowClient, opened: Opened, tmp_path: Path) -> None:
    for folder, name in (("one", STUDY), ("two", f"{STUDY}.2")):
        (tmp_path / folder).mkdir()
        tracker = opened(name)
        for number in (1, 11):
            tracker.sync_trial(a_trial(tmp_path / folder, number=number, study=name))
    for name in (STUDY, f"{STUDY}.2"):
        trials = [run.data.tags["hpo.trial"] for run in runs_of(client, name) if run.data.tags["hpo.kind"] == "trial"]
        assert sorted(trials) == ["1", "11"]


def test_texts_beyond_mlflows_lengths_are_cut_and_never_stop_the_mirror(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    params = {"data.label_names": {str(number): "name" * 10 for number in range(1000)}, "data.source": "short"}
    opened(description="ä" * 5000).sync_trial(a_trial(tmp_path, "FAIL", reason="error: " + "x" * 30_000, params=params))
    run = only_trial(client)
    assert run.info.status == "FAILED"
    assert len(run.data.params["data.label_names"]) == 6000
    assert run.data.params["data.label_names"].endswith("...")
    assert run.data.params["data.source"] == "short"
    assert run.data.tags["hpo.reason"].startswith("error: xxx")


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


@shows("tracker away", "A")
@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://u:CANARY@127.0.0.1:1", "http://***@127.0.0.1:1: API request to http://***@127.0.0.1:1/api"),
        ("postgresql://u:CANARY@127.0.0.1:1/x", "postgresql://***@127.0.0.1:1/x: "),
        ("postgresql://u:CAN@ARY@127.0.0.1:1/x", "postgresql://***@127.0.0.1:1/x: "),
        ("mysql://u:CANARY@127.0.0.1:1/x", "mysql://***@127.0.0.1:1/x: "),
        ("nodb://u:CANARY@127.0.0.1/x", "nodb://***@127.0.0.1/x: "),
        ("http://u:CAN/ARY@127.0.0.1:1", "http://***@127.0.0.1:1: Invalid url: http://***@127.0.0.1:1/api"),
    ],
)
def test_a_tracker_that_does_not_answer_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, uri: str, shown: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StorageError) as caught:
        connect(uri)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"tracking {shown}")
    assert "\n" not in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_an_error_of_the_tracker_is_cut_to_one_line() -> None:
    with pytest.raises(StorageError) as caught, tracking_errors("http://h"):
        raise MlflowException("first line " + "x" * 1000 + "\nsecond line with the body")
    assert len(str(caught.value)) < 340
    assert "second" not in str(caught.value)


@shows("not finite", "G")
def test_a_score_that_is_not_finite_does_not_stop_the_mirror(
    client: MlflowClient, opened: Opened, tmp_path: Path
) -> None:
    directory = a_trial(tmp_path, "RUNNING")
    lines = [{"kind": "step", "step": 1, "time": 1, "values": {"loss": math.inf}}]
    (directory / "progress.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    opened().sync_trial(directory)
    assert only_trial(client).data.metrics["train/loss"] > 1e300


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
