"""The locked test split is opened here and nowhere else: once for a winner, and for the champion it challenges."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.answers import answers
from pipelines.data import Dataset, open_dataset
from pipelines.errors import ModelError
from pipelines.files import write_json
from pipelines.loader import open_model
from pipelines.predictions import NonFiniteError
from pipelines.report import write_report
from pipelines.scores import score
from pipelines.segment import TestJob, Watch

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier

_TIMED = 24  # texts, of which the median is taken


def score_on_test(job: TestJob, *, watch: Watch) -> dict[str, dict[str, float]]:
    """Scores of each model on the test split of the data, and what it costs: `parameters`, `latency_ms`, `megabytes`.

    Raises `ModelError` when a model does not know exactly the classes of the data, or its answers are not finite.
    """
    dataset = open_dataset(job.data)
    try:
        return {
            name: _score(directory, dataset, job.output / name, watch=watch) for name, directory in job.models.items()
        }
    except NonFiniteError as error:
        raise ModelError(f"on the locked test rows {error}; nothing was decided") from error


def _score(directory: Path, dataset: Dataset, output: Path, *, watch: Watch) -> dict[str, float]:
    classifier = open_model(directory)
    predictions = answers(classifier, dataset, "test", watch=watch)
    scores = score(predictions) | _costs(classifier, directory, predictions.texts[:_TIMED])
    write_report(predictions, output)
    write_json(output / "scores.json", scores)
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
