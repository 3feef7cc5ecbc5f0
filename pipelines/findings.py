"""What a command found out about a data set, as one finished run in MLflow."""

import getpass
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from pipelines.config import SplitName
from pipelines.connection import find_experiment
from pipelines.data import Dataset
from pipelines.files import write_text
from pipelines.tracking import dataset_inputs

_PART = 100  # parameters in one request, MLflow's limit


@dataclass(frozen=True)
class Findings:
    """What is kept of it."""

    command: str
    """Names the experiment and the files: `tokenizers` of `hpo tokenizers`."""
    verdict: str
    """In plain words: the run's note."""
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    page: str
    """HTML."""
    figures: Mapping[str, Any]
    """Everything, for programs."""


def track_findings(
    found: Findings, dataset: Dataset, *, splits: Sequence[SplitName], client: MlflowClient, artifacts: Path
) -> str:
    """Write one finished run with the splits that were looked at, the page and the JSON; its id.

    Raises what MLflow raises. `artifacts` is where they are kept when no tracking server does.
    """
    experiment = find_experiment(client, found.command, artifacts)
    tags = {"hpo.kind": found.command, "mlflow.source.name": f"hpo {found.command}", "mlflow.user": getpass.getuser()}
    run = client.create_run(experiment, run_name=dataset.name, tags=tags)
    id, now = run.info.run_id, run.info.start_time
    params = [Param(name, str(value)) for name, value in found.params.items()] + [Param("data", dataset.source)]
    for start in range(0, len(params), _PART):
        client.log_batch(id, params=params[start : start + _PART])
    metrics = [Metric(name, value, now, 0) for name, value in found.metrics.items()]
    client.log_batch(id, metrics=metrics, tags=[RunTag("mlflow.note.content", found.verdict)])
    client.log_inputs(id, dataset_inputs(replace(dataset, splits={name: dataset.splits[name] for name in splits})))
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / f"{found.command}.html", found.page)
        write_text(
            Path(folder) / f"{found.command}.json", json.dumps(dict(found.figures), indent=1, ensure_ascii=False)
        )
        client.log_artifacts(id, folder)
    client.set_terminated(id)
    return str(id)


def metric_name(name: str) -> str:
    """A name with nothing that MLflow does not take in that of a metric, of which 250 fit."""
    return re.sub(r"[^\w. /-]", "-", name)[:180].strip("/.")
