"""A home with a study in Optuna's storage, on disk and in MLflow, of which something will be spoilt."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient

from hpo.doctor import Examination, examine, treat
from hpo.executors.local import LocalExecutor
from hpo.places import Places
from hpo.storage import load_study
from hpo.study import Controller
from pipelines.connection import connect
from pipelines.files import read_json, write_json
from pipelines.mirror import MirrorThread
from pipelines.tracking import Tracker
from tests.stub import a_controller, a_spec

Found = list[tuple[str, int | str | None, str]]


@dataclass(frozen=True)
class Patient:
    """A home with a study of which something will be spoilt."""

    home: Path

    @property
    def places(self) -> Places:
        return Places(self.home, f"sqlite:///{self.home}/mlflow.db", f"sqlite:///{self.home}/studies.db")

    @property
    def client(self) -> MlflowClient:
        return connect(self.places.tracking)

    @property
    def study(self) -> optuna.Study:
        return load_study("toy", places=self.places)

    def trial(self, number: int) -> Path:
        return self.places.trial("toy", number)

    def record(self, number: int, **changes: Any) -> dict[str, Any]:
        """Change a trial's record; returns it."""
        record = read_json(self.trial(number) / "trial.json") | changes
        write_json(self.trial(number) / "trial.json", record)
        return record

    def run_id(self, number: int) -> str:
        return str(read_json(self.trial(number) / "mirror.json")["run_id"])

    def parent(self) -> str:
        return str(read_json(self.trial(0) / "mirror.json")["parent"])

    def sql(self, database: str, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.home / database)) as connection, connection:
            assert connection.execute(statement, values).rowcount, "nothing was spoilt"

    def found(self) -> Found:
        return tuples(examine(self.places))

    def treated(self) -> tuple[list[str], Examination]:
        """What `--fix` says, and what is left."""
        said: list[str] = []
        return said, treat(self.places, study="toy", say=said.append)


def tuples(examination: Examination) -> Found:
    return [(one.invariant, one.trial, one.what) for one in examination.findings]


def a_tracker(home: Path, name: str) -> Tracker:
    tracker = Tracker(connect(f"sqlite:///{home}/mlflow.db"), artifacts=home / "artifacts")
    tracker.open_study(name, description="", params={}, tags={"version.torch": "2.13.0"})
    return tracker


def run(home: Path, executor: LocalExecutor, *, until_stopped: bool = False, **changes: Any) -> Controller:
    """A session of a study, mirrored into MLflow to its end."""
    spec = a_spec(**{key: value for key, value in changes.items() if key != "show"})
    tracker = a_tracker(home, spec.name)
    mirror = MirrorThread(tracker.sync_trial)
    show = {"show": changes["show"]} if "show" in changes else {}
    controller = a_controller(spec, home, executor, mirror=mirror, **show)
    controller.run()
    assert mirror.close(patience=30)
    tracker.close_study(status="SCHEDULED" if until_stopped else "FINISHED", metrics={}, tags={})
    return controller


def fill(home: Path, kept: Path) -> Patient:
    """Make the home equal to what was kept; databases stay the same files, since somebody may have them open."""
    for path in home.iterdir():
        if path.suffix != ".db":
            shutil.rmtree(path)
    shutil.copytree(kept, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db"))
    for name in ("mlflow.db", "studies.db"):
        with closing(sqlite3.connect(kept / name)) as source, closing(sqlite3.connect(home / name)) as target:
            source.backup(target)
    return Patient(home)


def keep(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(home, tmp_path_factory.mktemp("kept"), dirs_exist_ok=True)
