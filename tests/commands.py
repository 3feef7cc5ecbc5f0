"""Runs the command line as a user does: another process, its own home."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run, ViewType


@dataclass(frozen=True)
class Home:
    """A place where studies are kept, and the commands run in it."""

    path: Path
    env: dict[str, str]

    def hpo(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "hpo", *words],
            capture_output=True,
            text=True,
            env=self.env,
            cwd=self.path,
            timeout=240,
        )

    def json(self, *words: str) -> Any:
        """What a command prints with --json."""
        done = self.hpo(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "hpo", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
            cwd=self.path,
            start_new_session=True,
        )

    @property
    def tracking(self) -> str:
        return self.env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.path}/mlruns/mlflow.db"

    def runs(self, study: str) -> list[Run]:
        """All MLflow runs of a study, its own run among them."""
        client = mlflow.MlflowClient(self.tracking)
        experiment = client.get_experiment_by_name(study)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL))

    def curve(self, run_id: str, metric: str) -> list[int]:
        """The steps of one metric of a run, in order of time."""
        return [point.step for point in mlflow.MlflowClient(self.tracking).get_metric_history(run_id, metric)]


def new_home(path: Path, **env: str) -> Home:
    """An empty home; nothing of the caller's own settings reaches it."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HPO_HOME", "HPO_STORAGE"))
    }
    quiet = {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(Path(__file__).parents[1])}
    return Home(path, kept | quiet | env)


def wait_until(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Poll until a condition holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def kill_group(process: "subprocess.Popen[str]") -> None:
    """SIGKILL a command and everything that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
