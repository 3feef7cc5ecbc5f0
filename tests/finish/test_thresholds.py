"""Thresholds decide wherever the model answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.answers import answers
from pipelines.data import Dataset, open_dataset, save_dataset
from pipelines.finish import finish_model
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model
from pipelines.segment import FinishJob, Unwatched

from .trained import LABELS, hot


def test_thresholds_decide_wherever_the_model_answers(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final, texts = tmp_path / "final", list(open_dataset(rows).splits["test"].texts)
    second = Classifier(trained).probabilities(texts)[:, 1]
    threshold = float(np.quantile(second, 0.25))  # so that many answers move
    hot(monkeypatch, thresholds=(1 - threshold, threshold), metric="mcc")
    finish_model(FinishJob(trained, rows, final, threshold="mcc"), watch=Unwatched())
    classifier = open_model(final)
    decided = (second > threshold).astype(int)
    assert not (decided == (second > 0.5)).all()
    assert classifier.predicted(classifier.probabilities(texts)).tolist() == decided.tolist()

    predictions = answers(classifier, flipped(open_dataset(rows)), "test", watch=Unwatched())
    assert predictions.names == ("positive", "negative")
    assert (1 - predictions.predicted).tolist() == decided.tolist(), "in the order of the data"

    table = mlflow_table(classifier, texts)
    assert table["label"].tolist() == [LABELS[index] for index in decided]
    assert table["probability"].tolist() == pytest.approx(np.where(decided, second, 1 - second), abs=1e-6)


def test_thresholds_are_kept_in_the_order_of_the_models_classes(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dataset(flipped(open_dataset(rows)), tmp_path / "flipped")
    hot(monkeypatch, thresholds=(0.9, 0.1), metric="mcc")
    finish_model(FinishJob(trained, tmp_path / "flipped", tmp_path / "final", threshold="mcc"), watch=Unwatched())
    assert open_model(tmp_path / "final").thresholds == (0.1, 0.9)


def flipped(dataset: Dataset) -> Dataset:
    return replace(dataset, labels=dataset.labels[::-1])


def mlflow_table(classifier: Classifier, texts: list[str]) -> Any:
    from pipelines.mlflow_model import as_table

    return as_table(classifier, texts)
