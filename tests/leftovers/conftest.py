"""A home with a champion."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from hpo import leftovers
from hpo.executors.local import LocalExecutor
from pipelines.config import ModelConfig, TokensConfig
from pipelines.export import export_model
from pipelines.files import sha256
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, register
from tests.patients import Patient, fill, keep, run
from tests.stub import instruct

from .surveyed import BEST, OTHER, PRUNED

TRIALS = {"budget": {"trials": 3}}


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one home of all these tests, filled anew for each."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def promoted(
    home: Path,
    empty_mlflow: Path,
    tiny_bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A study that is over, with a real model that was registered twice: version 1 is champion."""
    shutil.copy(empty_mlflow, home / "mlflow.db")
    instruct(home / "work" / "toy", faults={str(PRUNED): "infeasible"})
    with closing(LocalExecutor(workers=2, threads=1, logs=tmp_path_factory.mktemp("logs"))) as executor:
        run(home, executor, **TRIALS)
    patient = Patient(home)
    model, labels = patient.trial(BEST) / "model", ("bad", "good")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=labels)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, model, labels=labels, tokens=TokensConfig(max_length=12))
    tags = {"hpo.weights": sha256(model / "model.safetensors")}
    for number in (BEST, OTHER):
        candidate = Candidate(f"toy/{number}/abc", patient.run_id(number), model, "", tags)
        register(patient.client, "sentiment", candidate)
    patient.client.set_registered_model_alias("sentiment", "champion", "1")
    shutil.rmtree(home / "cache")
    return keep(home, tmp_path_factory)


@pytest.fixture
def patient(home: Path, promoted: Path, monkeypatch: pytest.MonkeyPatch) -> Patient:
    """That home; whatever is in it counts as old."""
    monkeypatch.setattr(leftovers, "RECENT_SECONDS", 0.0)
    return fill(home, promoted)
