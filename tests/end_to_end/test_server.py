"""A study and its tracking server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import kill_group, new_home, wait_until
from tests.faults import shows
from tests.trackers import TrackingServer

from .studies import assert_whole, write_study


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    """A real tracking server on loopback, with its own database and artifacts."""
    server = TrackingServer(tmp_path / "server")
    server.start()
    server.wait()
    yield server
    server.stop()


def test_a_study_works_against_a_tracking_server(tmp_path: Path, tiny_bert: Path, server: TrackingServer) -> None:
    home = new_home(tmp_path, MLFLOW_TRACKING_URI=server.url)
    write_study(tmp_path, tiny_bert, trials=2)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(home, trials=2)
    (answer,) = home.json("predict", "reviews@champion", "a great film")
    assert answer["model"] == "reviews/1"
    assert not (tmp_path / "mlruns/mlflow.db").exists()


@shows("tracker away", "C")
def test_a_study_that_has_begun_goes_on_without_its_tracking_server(
    tmp_path: Path, tiny_bert: Path, server: TrackingServer
) -> None:
    home = new_home(tmp_path, MLFLOW_TRACKING_URI=server.url)
    write_study(tmp_path, tiny_bert, trials=3, epochs=6)
    first = home.start("run", "own.yaml")
    wait_until(lambda: any((tmp_path / "mlruns/work/own").glob("trial-*/progress.jsonl")))
    kill_group(first)
    server.stop()
    second = home.start("run", "own.yaml")
    trained = tmp_path / "mlruns/work/own"
    wait_until(lambda: len(list(trained.glob("trial-*/result.json"))) == 3)
    server.start()
    server.wait()
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert "training goes on, and MLflow is brought up to date when it answers" in said
    assert_whole(home, trials=3)
    assert home.json("doctor", "own")["ok"]


@shows("tracker away", "A")
def test_a_new_study_is_refused_where_its_tracking_server_does_not_answer(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    write_study(tmp_path, tiny_bert, trials=1)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 4
    assert "error: tracking http://127.0.0.1:9:" in done.stderr
    assert not list((tmp_path / "mlruns/work").glob("own/trial-*"))
