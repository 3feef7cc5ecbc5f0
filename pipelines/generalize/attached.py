"""What was found of a registered version, attached to it: its run, its tags, its card. Twice is as once."""

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, Metric
from mlflow.entities.model_registry import ModelVersion

from pipelines.data import Dataset
from pipelines.figures import draw_report
from pipelines.files import write_json, write_text
from pipelines.generalize.section import with_section
from pipelines.predictions import Predictions, write_parquet
from pipelines.registry import as_description
from pipelines.tracking import dataset_inputs

EXTERNAL, ROBUSTNESS = "external", "robustness"
"""Folders of the run's artifacts, and beginnings of its metrics' names and of the version's tags."""
_REPORT = "report.json"
_PART = 900  # metrics in one request; MLflow's limit is 1,000


@dataclass(frozen=True)
class Attachment:
    """One finding about a version."""

    kind: str
    """`EXTERNAL` or `ROBUSTNESS`."""
    key: str
    """What it was found on."""
    verdict: str
    """One sentence: the version's tag."""
    metrics: Mapping[str, float]
    """By name, without kind and key."""
    dataset: Dataset | None
    """What goes in as the run's input, besides the model's own data."""
    figures: Mapping[str, Any]
    """Everything, for programs."""
    page: str
    """HTML."""
    predictions: Predictions | None = None

    @property
    def place(self) -> str:
        """Its folder among the run's artifacts."""
        return f"{self.kind}/{self.key}"


def attach(found: Sequence[Attachment], version: ModelVersion, *, client: MlflowClient) -> None:
    """Attach findings to a version and its run; what was found on the same data before is replaced.

    Metrics whose value stands already are not sent again, and inputs are known by their digest. Nothing changes in the
    model's files: its card in the registry is the version's description. Raises what MLflow raises.
    """
    for one in found:
        _send_metrics(one, version.run_id, client=client)
        if one.dataset is not None:
            client.log_inputs(version.run_id, _inputs(one.dataset, one.kind))
        with tempfile.TemporaryDirectory() as folder:
            _write(one, Path(folder))
            client.log_artifacts(version.run_id, folder, artifact_path=one.place)
        client.set_model_version_tag(version.name, version.version, f"{one.kind}.{one.key}", one.verdict)
    reports = {kind: list(_reports(client, version.run_id, kind)) for kind in (EXTERNAL, ROBUSTNESS)}
    card = client.get_model_version(version.name, version.version).description or ""
    told = as_description(with_section(card, reports[EXTERNAL], reports[ROBUSTNESS]), client=client)
    if told != card:
        client.update_model_version(version.name, version.version, description=told)


def _send_metrics(one: Attachment, run_id: str, *, client: MlflowClient) -> None:
    known, now = client.get_run(run_id).data.metrics, time.time_ns() // 1_000_000
    named = {f"{one.kind}.{one.key}.{name}": value for name, value in one.metrics.items()}
    fresh = [Metric(name, value, now, 0) for name, value in named.items() if known.get(name) != value]
    for start in range(0, len(fresh), _PART):
        client.log_batch(run_id, metrics=fresh[start : start + _PART])


def _inputs(dataset: Dataset, context: str) -> list[DatasetInput]:
    return [DatasetInput(one.dataset, [InputTag("mlflow.data.context", context)]) for one in dataset_inputs(dataset)]


def _write(one: Attachment, folder: Path) -> None:
    write_json(folder / _REPORT, dict(one.figures))
    write_text(folder / "report.html", one.page)
    if one.predictions is not None:
        write_parquet(one.predictions, folder / "predictions.parquet")
        draw_report(one.predictions, folder)


def _reports(client: MlflowClient, run_id: str, kind: str) -> Iterable[dict[str, Any]]:
    """All reports of a kind that the run has, in the order of their keys."""
    import mlflow.artifacts

    for folder in sorted(client.list_artifacts(run_id, kind), key=lambda item: item.path):
        if f"{folder.path}/{_REPORT}" not in {file.path for file in client.list_artifacts(run_id, folder.path)}:
            continue  # an upload that a kill cut short
        with tempfile.TemporaryDirectory() as beside:
            path = mlflow.artifacts.download_artifacts(
                run_id=run_id,
                artifact_path=f"{folder.path}/{_REPORT}",
                dst_path=beside,
                tracking_uri=client.tracking_uri,
            )
            yield json.loads(Path(path).read_text(encoding="utf-8"))
