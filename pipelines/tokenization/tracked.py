"""A comparison of tokenizers as a run in MLflow."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mlflow import MlflowClient

from pipelines.data import Dataset
from pipelines.findings import Findings, metric_name, track_findings
from pipelines.tokenization.comparison import Comparison
from pipelines.tokenization.measuring import Measures
from pipelines.tokenization.page import render

EXPERIMENT = "tokenizers"


def track(found: Comparison, dataset: Dataset, *, client: MlflowClient, artifacts: Path) -> str:
    """Write one finished run: parameters and metrics of each tokenizer, the data set, the page and the JSON; its id.

    Raises what MLflow raises. `artifacts` is where they are kept when no tracking server does.
    """
    findings = Findings(
        command=EXPERIMENT,
        verdict=found.verdict,
        params={f"{_key(one)}/{name}": value for one in found.measures for name, value in _facts(one)},
        metrics={f"{_key(one)}/{name}": value for one in found.measures for name, value in _figures(one)},
        page=render(found),
        figures=found.as_json(),
    )
    return track_findings(findings, dataset, splits=("train", "select"), client=client, artifacts=artifacts)


def _key(one: Measures) -> str:
    return metric_name(one.candidate.name) or "tokenizer"


def _facts(one: Measures) -> Iterator[tuple[str, object]]:
    yield from (("origin", one.candidate.origin), ("what", one.candidate.what))
    yield from (("vocabulary", one.candidate.size), ("positions", one.candidate.positions))
    yield from (("max_length", one.recommended.length), ("max_length_reason", one.recommended.reason))


def _figures(one: Measures) -> Iterator[tuple[str, float]]:
    """Everything that is a number and known."""
    figures: dict[str, float | None] = {
        **asdict(one.seen),
        **({f"unseen/{name}": value for name, value in asdict(one.unseen).items()} if one.unseen else {}),
        **{f"survival/{name}": left.share for name, left in one.survival.items()},
        **{f"texts_cut/{cut.length}": cut.texts for cut in one.cuts},
        **{f"characters_cut/{cut.length}": cut.characters for cut in one.cuts},
        "vocabulary": one.candidate.size,
        "vocabulary_used": one.used,
        "max_length": one.recommended.length,
        "texts_per_second": one.texts_per_second,
    }
    yield from ((name, float(value)) for name, value in figures.items() if value is not None)
