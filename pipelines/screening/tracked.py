"""A screening as a run in MLflow."""

from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient

from pipelines.data import Dataset
from pipelines.findings import Findings, metric_name, track_findings
from pipelines.screening.comparison import Screening
from pipelines.screening.measures import Measures
from pipelines.screening.page import render

COMMAND = "screen"


def track(found: Screening, dataset: Dataset, *, client: MlflowClient, artifacts: Path) -> str:
    """Write one finished run: parameters and metrics of each checkpoint, the data set, the page and the JSON; its id.

    Raises what MLflow raises. `artifacts` is where they are kept when no tracking server does.
    """
    shared: dict[str, object] = {
        "shortlist": ", ".join(found.shortlist),
        "rows": found.basis.rows,
        "keep": found.keep,
        "seed": found.basis.seed,
    }
    findings = Findings(
        command=COMMAND,
        verdict=f"{found.verdict} {found.cost}",
        params=shared | {f"{_key(one)}/{name}": value for one in found.measures for name, value in _facts(one)},
        metrics={f"{_key(one)}/{name}": value for one in found.measures for name, value in _figures(found, one)},
        page=render(found),
        figures=found.as_json(),
    )
    return track_findings(findings, dataset, splits=("train",), client=client, artifacts=artifacts)


def _key(one: Measures) -> str:
    return metric_name(one.label) or "checkpoint"


def _facts(one: Measures) -> Iterator[tuple[str, object]]:
    yield from (("name", one.name), ("architecture", one.architecture), ("license", one.license or "not stated"))
    yield from (("layers", one.layers), ("width", one.width))


def _figures(found: Screening, one: Measures) -> Iterator[tuple[str, float]]:
    yield from (("mean_place", found.places[one.name]), ("logme", one.logme), ("h_score", one.h_score))
    yield from (("linear_probe", one.linear.accuracy), ("linear_probe_error", one.linear.error))
    yield from (("parameters", float(one.parameters)), ("seconds_per_1000", one.seconds_per_1000))
    yield from (("memory_megabytes", one.memory / 1e6), ("seconds", one.seconds))
    if one.fine_tuning is not None:
        yield "fine_tuning_seconds", one.fine_tuning
