"""The locked test split is opened here and nowhere else: once for a winner, and for the champion it challenges."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.data import Dataset, open_dataset
from pipelines.errors import ModelError
from pipelines.figures import draw_report
from pipelines.files import write_json
from pipelines.loader import open_model
from pipelines.predictions import Predictions, most_confident_mistakes, write_parquet
from pipelines.run import as_table
from pipelines.scores import score
from pipelines.segment import TestJob, Watch

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier

_TIMED = 24  # texts, of which the median is taken


def score_on_test(job: TestJob, *, watch: Watch) -> dict[str, dict[str, float]]:
    """Scores of each model on the test split of the data, and what it costs: `parameters`, `latency_ms`, `megabytes`.

    Raises `ModelError` when a model does not know exactly the classes of the data.
    """
    dataset = open_dataset(job.data)
    return {name: _score(directory, dataset, job.output / name) for name, directory in job.models.items()}


def _score(directory: Path, dataset: Dataset, output: Path) -> dict[str, float]:
    classifier, split = open_model(directory), dataset.splits["test"]
    if set(classifier.labels) != set(dataset.labels):
        raise ModelError(f"{directory}: knows the classes {classifier.labels}, the data has {dataset.labels}")
    order = [classifier.labels.index(label) for label in dataset.labels]
    predictions = Predictions(
        ids=split.ids,
        texts=split.texts,
        labels=split.labels,
        probabilities=classifier.probabilities(split.texts)[:, order],
        names=dataset.labels,
    )
    scores = score(predictions) | _costs(classifier, directory, split.texts[:_TIMED])
    output.mkdir(parents=True, exist_ok=True)
    write_parquet(predictions, output / "predictions.parquet")
    write_json(output / "mistakes.json", as_table(most_confident_mistakes(predictions)))
    write_json(output / "scores.json", scores)
    draw_report(predictions, output)
    return scores


def _costs(classifier: "Classifier", directory: Path, texts: Sequence[str]) -> dict[str, float]:
    """Weights, megabytes on disk, and the median of the milliseconds that one text takes, measured here and now."""
    times = []
    for text in texts:
        start = time.perf_counter()
        classifier.probabilities([text])
        times.append(time.perf_counter() - start)
    return {
        "parameters": float(sum(weight.numel() for weight in classifier.model.parameters())),
        "latency_ms": float(np.median(times)) * 1000,
        "megabytes": sum(file.stat().st_size for file in directory.iterdir()) / 1e6,
    }
