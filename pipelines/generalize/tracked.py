"""A matrix as a run in MLflow: one for each name, however often it is filled."""

import getpass
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from pipelines.connection import find_experiment
from pipelines.data import Dataset
from pipelines.files import write_json
from pipelines.generalize.matrix import Matrix, draw_matrix
from pipelines.tracking import dataset_inputs

EXPERIMENT = "matrix"


def track_matrix(found: Matrix, datasets: Sequence[Dataset], *, client: MlflowClient, artifacts: Path) -> str:
    """Write, or bring up to date, the run of a matrix: cells as metrics, data sets, heat map and JSON; its id.

    Raises what MLflow raises. `artifacts` is where they are kept when no tracking server does.
    """
    experiment = find_experiment(client, EXPERIMENT, artifacts)
    tags = {"hpo.kind": EXPERIMENT, "hpo.matrix": found.name, "mlflow.source.name": "hpo matrix"}
    same = client.search_runs([experiment], filter_string=f"tags.`hpo.matrix` = '{found.name}'", max_results=1)
    run = (
        same[0]
        if same
        else client.create_run(experiment, run_name=found.name, tags=tags | {"mlflow.user": getpass.getuser()})
    )
    id, now, known = run.info.run_id, time.time_ns() // 1_000_000, run.data.metrics
    cells = {f"{found.metric}.{one.train}.{one.test}": one.value for one in found.cells}
    fresh = [Metric(name, value, now, 0) for name, value in cells.items() if known.get(name) != value]
    client.log_batch(id, metrics=fresh, tags=[RunTag("mlflow.note.content", found.verdict())])
    for dataset in datasets:
        client.log_inputs(id, dataset_inputs(dataset))
    with tempfile.TemporaryDirectory() as folder:
        draw_matrix(found, Path(folder) / "matrix.png")
        write_json(Path(folder) / "matrix.json", found.as_json())
        client.log_artifacts(id, folder)
    client.set_terminated(id)
    return str(id)
