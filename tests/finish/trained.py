"""A trained model, and rows to calibrate it on."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import finish
from pipelines.calibration import CalibrationFacts
from pipelines.config import ModelConfig, TokensConfig
from pipelines.data import save_dataset
from pipelines.export import export_model
from pipelines.models import load_pretrained, new_classifier
from tests import tiny

LABELS = ("negative", "positive")


def export(checkpoint: Path, directory: Path, *, labels: tuple[str, ...] = LABELS) -> Path:
    """An untrained classifier, as a trial leaves it."""
    pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=labels)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, directory, labels=labels, tokens=TokensConfig(max_length=12))
    return directory


def data(directory: Path, *, rows: int = 200, classes: int = 2) -> Path:
    """The toy data set with so many calibrate rows."""
    save_dataset(tiny.dataset(classes, {"train": 24, "select": 24, "calibrate": rows, "test": 24}), directory)
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def hot(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> CalibrationFacts:
    """Let calibration find this, whatever the rows say."""
    found = CalibrationFacts(rows=200, **facts)
    monkeypatch.setattr(finish, "calibrate", lambda predictions, **_: found)
    return found
