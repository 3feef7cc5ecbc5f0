"""A court of candidates."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from pipelines import registry
from tests.court import Court, pack


@pytest.fixture
def court(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.setattr(registry, "_packed", pack)
    return Court(tmp_path)


@pytest.fixture
def hpo(court: Court, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command at the court's home; returns its result."""
    monkeypatch.setenv("HPO_HOME", str(court.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", court.places.tracking)
    monkeypatch.setenv("HPO_STORAGE", court.places.storage)
    monkeypatch.setattr("pipelines.loader.prove", court.prove)
    return lambda *words: CliRunner().invoke(app, list(words))
