"""A sealed model, and a copy of it to be spoilt."""

import shutil
from pathlib import Path

import pytest

from pipelines.config import ModelConfig, TokensConfig
from pipelines.models import load_pretrained

from .sealed import LABELS, export


@pytest.fixture(scope="package")
def sealed(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    directory = tmp_path_factory.mktemp("exported") / "model"
    export(pretrained, directory, TokensConfig(max_length=12))
    return directory


@pytest.fixture
def model(sealed: Path, tmp_path: Path) -> Path:
    """A sound exported model of one's own."""
    shutil.copytree(sealed, tmp_path / "model")
    return tmp_path / "model"
