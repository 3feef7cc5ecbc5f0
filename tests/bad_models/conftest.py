"""A registry that every test may spoil."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.config import ModelConfig, TokensConfig
from pipelines.export import export_model
from pipelines.files import sha256
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, register

from .registered import Registered, mark

LABELS = ("bad", "good")


def write_model(checkpoint: Path, directory: Path, *, seed: int) -> Path:
    pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=seed).eval()
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=TokensConfig(max_length=12))
    return directory


@pytest.fixture(scope="package")
def home(empty_mlflow: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """The one home of all these tests: MLflow takes long to open another."""
    found = Registered(tmp_path_factory.mktemp("home"))
    found.home.mkdir()
    shutil.copy(empty_mlflow, found.home / "mlflow.db")
    client = found.client
    experiment = client.create_experiment("toy", artifact_location=(found.home / "artifacts").as_uri())
    for number, alias in enumerate(("champion", "challenger"), start=1):
        model = write_model(tiny_bert, found.path / f"trained-{number}", seed=number)
        tags = {"hpo.weights": sha256(model / "model.safetensors")}
        run_id = client.create_run(experiment).info.run_id
        version = register(client, "sentiment", Candidate(f"toy/{number}/abc", run_id, model, "", tags))
        client.set_registered_model_alias("sentiment", alias, version.version)
    shutil.copytree(found.home, found.path / "kept")
    return found


@pytest.fixture
def registered(home: Registered, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """The home, filled anew; commands find it. Its database stays the same file, since MLflow has it open."""
    shutil.rmtree(mark(home), ignore_errors=True)
    for path in home.home.iterdir():
        if path.suffix != ".db":
            shutil.rmtree(path)
    kept = home.path / "kept"
    shutil.copytree(kept, home.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db"))
    with (
        closing(sqlite3.connect(kept / "mlflow.db")) as source,
        closing(sqlite3.connect(home.home / "mlflow.db")) as db,
    ):
        source.backup(db)
    monkeypatch.setenv("HPO_HOME", str(home.home))
    return home
