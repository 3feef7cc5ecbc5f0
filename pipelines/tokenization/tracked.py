"""A comparison of tokenizers as a run in MLflow."""

import getpass
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from pipelines.config import SplitName
from pipelines.data import Dataset, Split
from pipelines.files import write_text
from pipelines.tokenization.comparison import Comparison
from pipelines.tokenization.measuring import Measures
from pipelines.tokenization.page import render
from pipelines.tracking import dataset_inputs, find_experiment

EXPERIMENT = "tokenizers"
_PART = 100  # parameters in one request, MLflow's limit


def track(found: Comparison, dataset: Dataset, *, client: MlflowClient, artifacts: Path) -> str:
    """Write one finished run: parameters and metrics of each tokenizer, the data set, the page and the JSON; its id.

    Raises what MLflow raises. `artifacts` is where they are kept when no tracking server does.
    """
    experiment = find_experiment(client, EXPERIMENT, artifacts)
    tags = {"hpo.kind": "tokenizers", "mlflow.source.name": "hpo tokenizers", "mlflow.user": getpass.getuser()}
    run = client.create_run(experiment, run_name=dataset.name, tags=tags)
    id, now = run.info.run_id, run.info.start_time
    params = [Param(f"{_key(one)}/{name}", str(value)) for one in found.measures for name, value in _facts(one)]
    params.append(Param("data", dataset.source))
    for start in range(0, len(params), _PART):
        client.log_batch(id, params=params[start : start + _PART])
    figures = [Metric(f"{_key(one)}/{name}", value, now, 0) for one in found.measures for name, value in _figures(one)]
    client.log_batch(id, metrics=figures, tags=[RunTag("mlflow.note.content", found.verdict)])
    measured: dict[SplitName, Split] = {name: dataset.splits[name] for name in ("train", "select")}
    client.log_inputs(id, dataset_inputs(replace(dataset, splits=measured)))
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / "tokenizers.html", render(found))
        write_text(Path(folder) / "tokenizers.json", json.dumps(found.as_json(), indent=1, ensure_ascii=False))
        client.log_artifacts(id, folder)
    client.set_terminated(id)
    return str(id)


def _key(one: Measures) -> str:
    """The tokenizer's name with nothing that MLflow does not take in the name of a metric, of which 250 fit."""
    return re.sub(r"[^\w. /-]", "-", one.candidate.name)[:180].strip("/.") or "tokenizer"


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
