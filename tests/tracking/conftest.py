"""An empty MLflow, and trackers of a study there."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines.connection import connect
from pipelines.data import Dataset, Split
from pipelines.tracking import Tracker

from .mirrored import STUDY, Opened

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
