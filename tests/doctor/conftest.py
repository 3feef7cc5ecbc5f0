"""Studies of every kind in one home, filled anew for each test."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpo.executors.local import LocalExecutor
from hpo.history import PROMOTED, History, a_reign
from hpo.ledger import Ledger
from hpo.storage import best_trial
from hpo.study import Controller
from pipelines.config import ModelConfig, TokensConfig
from pipelines.export import export_model
from pipelines.files import read_json, sha256
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, register
from tests.patients import Patient, fill, keep, run
from tests.stub import a_spec, instruct, make_whole

from .findings import BEST, FAILED, PRUNED, a_checkpoint

HALVING: dict[str, Any] = {"schedule": {"name": "halving", "floor": 10, "factor": 3}, "pruner": None}


@pytest.fixture(scope="package")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    """Two warm workers, for the studies that all files share."""
    with closing(LocalExecutor(workers=2, threads=1, logs=tmp_path_factory.mktemp("logs"))) as shared:
        yield shared


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one home of all these tests, filled anew for each: MLflow takes long to open another."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def empty(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept")
    shutil.copy(empty_mlflow, kept / "mlflow.db")
    return kept


@pytest.fixture(scope="package")
def finished(home: Path, empty: Path, executor: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has come to its end: two trials COMPLETE, one FAIL, one PRUNED."""
    patient = fill(home, empty)
    instruct(home / "work" / "toy", faults={str(FAILED): "raise", str(PRUNED): "infeasible"})
    best = best_trial(run(home, executor).study)
    assert best is not None
    assert best.number == BEST
    make_whole(patient.trial(BEST) / "model")
    return keep(home, tmp_path_factory)


@pytest.fixture
def patient(home: Path, finished: Path) -> Patient:
    """The finished study."""
    return fill(home, finished)


@pytest.fixture(scope="package")
def promoted(home: Path, finished: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a real model, which is champion."""
    patient = fill(home, finished)
    model, labels = patient.trial(BEST) / "model", ("bad", "good")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=labels)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, model, labels=labels, tokens=TokensConfig(max_length=12))
    tags = {"hpo.study": "toy", "hpo.trial": str(BEST), "hpo.weights": sha256(model / "model.safetensors")}
    key = f"toy/{BEST}/abc"
    version = register(patient.client, "sentiment", Candidate(key, patient.run_id(BEST), model, "", tags))
    patient.client.set_registered_model_alias("sentiment", "champion", version.version)
    ledger = Ledger(patient.places.storage)
    history = History(ledger)
    made = {"alias": "champion", "version": "1", "verdict": {"wins": True}}
    reign = a_reign("sentiment", version="1", previous=None, kind=PROMOTED, why="the first", key=key)
    history.decide(model="sentiment", key=key, decision=made, reign=reign)
    history.close("sentiment")
    spec = a_spec(register_as="sentiment")
    ledger.open_study("toy", {}, spec=spec.model_dump_json())
    return keep(home, tmp_path_factory)


@pytest.fixture
def registered(home: Path, promoted: Path) -> Patient:
    """The finished study whose best model is champion."""
    return fill(home, promoted)


@pytest.fixture(scope="package")
def stopped(home: Path, empty: Path, executor: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A halved study that was stopped while trials rest; the stub's empty checkpoints are made sound."""
    fill(home, empty)
    instruct(home / "work" / "toy", pace=0.02)

    def stop(controller: Controller) -> None:
        if controller.paused >= 2:
            controller.request_stop(2)

    run(home, executor, until_stopped=True, show=stop, **HALVING, budget={"trials": 9})
    for weights in (home / "work").glob("toy/trial-*/model/weights"):
        make_whole(weights.parent)
    for stub in (home / "work").glob("toy/trial-*/checkpoints/step-*"):
        stub.unlink()
        a_checkpoint(stub)
    return keep(home, tmp_path_factory)


@pytest.fixture
def resting(home: Path, stopped: Path) -> tuple[Patient, int]:
    """The stopped study, and a trial of it that rests."""
    patient = fill(home, stopped)
    records = [read_json(file) for file in sorted(patient.home.glob("work/toy/trial-*/trial.json"))]
    return patient, next(record["number"] for record in records if record["state"] == "PAUSED")
