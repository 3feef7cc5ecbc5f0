"""Trials as they lie on disk, and what MLflow has of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from pipelines.config import RunConfig, flatten
from pipelines.files import write_json
from pipelines.journal import Journal
from pipelines.tracking import Tracker

STUDY = "a.B_c-1"
Opened = Callable[..., Tracker]


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
