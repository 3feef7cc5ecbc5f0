"""A registry with two versions of a model."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hpo.cli import main
from pipelines.connection import connect
from pipelines.errors import ModelError
from pipelines.export import read_facts, seal
from pipelines.predict import classify

TEXT = "the film was wonderful"


@dataclass(frozen=True)
class Registered:
    """A home whose registry has two versions of one model: the champion is version 1, the challenger version 2."""

    path: Path
    """Where commands are run."""

    @property
    def home(self) -> Path:
        return self.path / "mlruns"

    @property
    def client(self) -> MlflowClient:
        return connect(f"sqlite:///{self.home}/mlflow.db")

    def stored(self, number: int = 1) -> Path:
        """The directory of a version's logged model."""
        version = self.client.get_model_version("sentiment", str(number))
        return self.home / "artifacts" / "models" / version.source.removeprefix("models:/") / "artifacts"

    def model(self, number: int = 1) -> Path:
        """The Hugging Face directory in it."""
        return self.stored(number) / "artifacts" / "model"

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.home / "mlflow.db")) as connection, connection:
            assert connection.execute(statement).rowcount, "nothing was spoilt"

    def classify(self, reference: str) -> dict[str, Any]:
        """What a model says of the one text."""
        (row,) = classify(self.client, reference, [TEXT], cache=self.home / "cache" / "models")
        return row


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def mark(registered: Registered) -> Path:
    """What exists once any code of an artifact has run."""
    return registered.path / "ran"


def code(registered: Registered) -> str:
    return f"import os\nos.makedirs({str(mark(registered))!r}, exist_ok=True)\n"


def with_module(registered: Registered) -> None:
    (registered.model() / "evil.py").write_text(code(registered))
    with_auto_map(registered)


def with_auto_map(registered: Registered) -> None:
    model = registered.model()
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (model / "config.json").write_text(json.dumps(config))
    seal(model, read_facts(model))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """A command's exit code."""
    monkeypatch.setattr(sys, "argv", ["hpo", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
