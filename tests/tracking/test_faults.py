"""A tracker that goes away, forgets, cuts or is edited by others."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import tracking
from pipelines.connection import connect, tracking_errors
from pipelines.errors import StorageError
from pipelines.files import read_json
from pipelines.tracking import Tracker
from tests.faults import shows

from .mirrored import STUDY, Opened, a_trial, go_on, only_trial, points, runs_of


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
