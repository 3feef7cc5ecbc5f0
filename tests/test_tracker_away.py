"""A real MLflow server that goes away, and one whose answers get lost: training goes on, and each run is there once."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpo.doctor import examine
from hpo.executors.local import LocalExecutor
from hpo.launch import _PATIENCE_SECONDS
from hpo.places import Places
from hpo.study import Controller
from pipelines.connection import connect
from pipelines.mirror import MirrorThread
from pipelines.tracking import Tracker
from tests.faults import shows
from tests.stub import a_controller, a_spec, instruct, make_whole
from tests.trackers import Proxy, TrackingServer

TRIALS = 8


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """No waiting for the disk, and short pauses of the mirror."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.mirror._PAUSE_SECONDS", 0.1)
        patch.setattr("pipelines.mirror._RETRY_SECONDS", (0.1, 1.0))
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[TrackingServer]:
    home = tmp_path_factory.mktemp("server")
    (home / "mlflow.db").write_bytes(empty_mlflow.read_bytes())
    server = TrackingServer(home)
    server.start()
    server.wait()
    yield server
    server.stop()


class Away:
    """Stops the server after some trials, and starts it again when more have ended without it."""

    def __init__(self, server: TrackingServer) -> None:
        self._server, self.down, self.back = server, -1, -1

    def __call__(self, controller: Controller) -> None:
        ended = len(controller.trials.ended)
        if self.down < 0 and ended >= 2:
            self._server.stop()
            self.down = ended
        elif self.back < 0 <= self.down and ended >= self.down + 4:
            self._server.start()
            self.back = ended


def run(home: Path, executor: LocalExecutor, *, name: str, url: str, via: str, **changes: object) -> None:
    """A session whose trials are sent through another address."""
    spec = a_spec(name=name, budget={"trials": TRIALS})
    instruct(home / "work" / name, pace=0.03)
    tracker, sender = (Tracker(connect(one), artifacts=home / "artifacts") for one in (url, via))
    tracker.open_study(name, description="", params={}, tags={})
    sender.take_up_study(name)
    mirror = MirrorThread(sender.sync_trial)
    controller = a_controller(spec, home, executor, mirror=mirror, **changes)
    assert controller.run() == f"all {TRIALS} trials are finished"
    assert mirror.close(patience=_PATIENCE_SECONDS)
    tracker.close_study(status="FINISHED", metrics={}, tags={})
    for weights in home.glob(f"work/{name}/trial-*/model/weights"):
        make_whole(weights.parent)


def assert_well(home: Path, url: str, name: str) -> None:
    found = examine(Places(home, url, f"sqlite:///{home}/studies.db"), study=name)
    assert found.findings == []
    assert [(one.trials, one.runs) for one in found.examined] == [(TRIALS, TRIALS + 1)]


@pytest.mark.long
@shows("tracker away", "CEGHI")
def test_a_study_goes_on_without_its_tracker_and_brings_it_up_to_date(
    tmp_path: Path, executor: LocalExecutor, server: TrackingServer
) -> None:
    away = Away(server)
    run(tmp_path, executor, name="away", url=server.url, via=server.url, show=away)
    assert away.back >= away.down + 4, "it ended trials meanwhile"
    assert_well(tmp_path, server.url, "away")


@pytest.mark.long
@shows("tracker away", "CGI")
def test_answers_that_are_lost_halved_refused_or_slow_leave_each_run_once(
    tmp_path: Path, executor: LocalExecutor, server: TrackingServer
) -> None:
    kinds = ("lost", "half", "refused", "slow")

    def spoil(number: int) -> str:
        return kinds[number // 7 % 4] if number > 7 and number % 7 == 0 else ""

    with closing(Proxy(server.url, spoil)) as proxy:
        run(tmp_path, executor, name="spoilt", url=server.url, via=proxy.url)
    assert set(proxy.spoilt) == set(kinds)
    assert_well(tmp_path, server.url, "spoilt")
