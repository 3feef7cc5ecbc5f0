"""A trained model, and rows to calibrate it on."""

from pathlib import Path

import pytest

from pipelines.finish import finish_model
from pipelines.segment import FinishJob, Unwatched

from .trained import data, export


@pytest.fixture(scope="package")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_bert, tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="package")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def final(trained: Path, rows: Path, tmp_path: Path) -> Path:
    """A finished model of one's own."""
    finish_model(FinishJob(trained, rows, tmp_path / "final"), watch=Unwatched())
    return tmp_path / "final"
