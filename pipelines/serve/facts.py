"""What people want to know of a registered version: card, locked scores with intervals, origin."""

from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipelines.card import without_front_matter
from pipelines.compare import measure_metric
from pipelines.errors import ModelError
from pipelines.export import read_facts
from pipelines.registry import locked_predictions
from pipelines.scores import METRICS
from pipelines.serve.schema import Score
from pipelines.serve.served import Facts

_WITH_INTERVAL = ("accuracy", "macro_f1")


def facts_of(directory: Path, client: MlflowClient, version: ModelVersion) -> Facts:
    """The facts of a version that lies in a directory; what its run does not say any more is left out."""
    own = own_facts(directory)
    try:
        run = client.get_run(version.run_id).data
    except MlflowException:
        return own
    return Facts(
        card=own.card,
        scores=_scores(run.metrics, client, version),
        study=version.tags.get("hpo.study"),
        base_model=run.params.get("model.name"),
        calibrated=own.calibrated,
    )


def own_facts(directory: Path) -> Facts:
    """The facts that a model's directory holds."""
    card = directory / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    calibration = read_facts(directory).calibration
    return Facts(card=without_front_matter(text), calibrated=calibration is not None and calibration.temperature != 1.0)


def _scores(metrics: Mapping[str, float], client: MlflowClient, version: ModelVersion) -> dict[str, Score]:
    values = {name: metrics[f"test/{name}"] for name in METRICS if f"test/{name}" in metrics}
    intervals = _intervals(client, version) if values else {}
    return {name: intervals.get(name) or Score(value=value) for name, value in values.items()}


def _intervals(client: MlflowClient, version: ModelVersion) -> dict[str, Score]:
    try:
        found = locked_predictions(client, version)
    except (ModelError, MlflowException):
        return {}
    if found is None:
        return {}
    measured = (measure_metric(name, found.labels, found.weighed) for name in _WITH_INTERVAL)
    return {one.metric: Score(value=one.value, low=one.low, high=one.high) for one in measured if one is not None}
