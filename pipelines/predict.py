"""Predictions of a registered model for a person's texts."""

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient

from pipelines.errors import DataError
from pipelines.loader import open_model
from pipelines.registry import find_version, pulled


def classify(client: MlflowClient, reference: str, texts: Sequence[str], *, cache: Path) -> list[dict[str, object]]:
    """One row a text: `text`, `label`, `probability`, `probabilities` of all classes, `model` that answered.

    The model is downloaded once and verified at each use. Raises `ModelError`, and `DataError` for text that is no
    valid Unicode.
    """
    for number, text in enumerate(texts, start=1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"text {number}: not valid Unicode (a lone surrogate); check its encoding")
    version = find_version(client, reference)
    classifier = open_model(pulled(client, version, cache))
    rows: list[dict[str, object]] = []
    answers = classifier.probabilities(texts)
    for text, probabilities, best in zip(texts, answers, classifier.predicted(answers).tolist(), strict=True):
        rows.append(
            {
                "text": text,
                "label": classifier.labels[best],
                "probability": round(float(probabilities[best]), 6),
                "probabilities": dict(zip(classifier.labels, probabilities.round(6).tolist(), strict=True)),
                "model": f"{version.name}/{version.version}",
            }
        )
    return rows
