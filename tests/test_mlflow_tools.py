"""MLflow's own tools on a registered version give the answers of `hpo predict`, thresholds and cut texts included."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.calibration import CalibrationFacts
from pipelines.config import ModelConfig, TokensConfig
from pipelines.connection import connect
from pipelines.export import export_model, read_facts, seal
from pipelines.files import sha256
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, register
from tests.commands import Home, new_home

LABELS = ("bad", "good")
TEXTS = [
    "the film was wonderful",
    "the plot was bland, " * 30,
    "wonderful, said the critics who did not see it coming",
    "naïve 🙂 日本語",
    "=1+1",
]


@pytest.fixture(scope="module")
def home(empty_mlflow: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one champion, whose thresholds answer `bad` wherever `good` is not nearly certain."""
    path = tmp_path_factory.mktemp("home")
    (path / "mlruns").mkdir()
    shutil.copy(empty_mlflow, path / "mlruns" / "mlflow.db")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    network, model = new_classifier(pretrained, dropout=None, seed=1).eval(), path / "trained"
    export_model(network, pretrained.tokenizer, model, labels=LABELS, tokens=TokensConfig(max_length=12))
    seal(model, replace(read_facts(model), calibration=CalibrationFacts(rows=60, thresholds=(0.01, 0.99))))
    client = connect(f"sqlite:///{path}/mlruns/mlflow.db")
    experiment = client.create_experiment("toy", artifact_location=(path / "mlruns" / "artifacts").as_uri())
    tags = {"hpo.weights": sha256(model / "model.safetensors")}
    run_id = client.create_run(experiment).info.run_id
    version = register(client, "sentiment", Candidate("toy/1/abc", run_id, model, "", tags))
    client.set_registered_model_alias("sentiment", "champion", version.version)
    return new_home(path, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def answers(home: Home) -> list[dict[str, Any]]:
    """What `hpo predict` says."""
    found: list[dict[str, Any]] = home.json("predict", "sentiment@champion", *TEXTS)
    assert {one["label"] for one in found} == {"bad"}
    assert max(one["probabilities"]["good"] for one in found) > 0.5, "the thresholds decide otherwise than the maximum"
    return found


def assert_same(table: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    assert [row["label"] for row in table] == [one["label"] for one in answers]
    for row, one in zip(table, answers, strict=True):
        assert row["probability"] == pytest.approx(one["probability"], abs=1e-5)
        assert {label: row[f"p.{label}"] for label in LABELS} == pytest.approx(one["probabilities"], abs=1e-5)


@pytest.mark.long
def test_pyfunc_by_alias_gives_the_answers_of_predict(home: Home, answers: list[dict[str, Any]]) -> None:
    script = (
        "import json, sys, mlflow\n"
        "model = mlflow.pyfunc.load_model('models:/sentiment@champion')\n"
        "print(model.predict(json.loads(sys.argv[1])).to_json(orient='records'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(TEXTS)],
        cwd=home.path,
        env=home.env | {"MLFLOW_TRACKING_URI": home.tracking},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert_same(json.loads(done.stdout.splitlines()[-1]), answers)


@pytest.mark.long
@pytest.mark.parametrize("form", ["inputs", "dataframe_split"])
def test_mlflow_models_serve_gives_the_answers_of_predict(
    form: str, served: str, answers: list[dict[str, Any]]
) -> None:
    """As a plain list, and as the table with a column `text` that the input example shows."""
    table = {"columns": ["text"], "data": [[text] for text in TEXTS]}
    body = {"inputs": TEXTS} if form == "inputs" else {"dataframe_split": table}
    request = urllib.request.Request(
        f"{served}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert_same(json.load(answer)["predictions"], answers)


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[str]:
    """The address of `mlflow models serve` with the champion."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["models", "serve", "--model-uri", "models:/sentiment@champion", "--env-manager", "local"]
    with _running([*command, "--host", "127.0.0.1", "--port", str(port)], home) as process:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 180
        while not _answers(url):
            ended = process.poll() is not None or time.monotonic() > end
            assert not ended, (home.path / "served.log").read_text()
            time.sleep(0.5)
        yield url


@contextmanager
def _running(words: list[str], home: Home) -> "Iterator[subprocess.Popen[str]]":
    """MLflow's command line in a process group of its own, which ends with the block."""
    path = os.pathsep.join([str(Path(sys.executable).parent), home.env.get("PATH", os.defpath)])  # it calls uvicorn
    with (home.path / "served.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=home.path,
            env=home.env | {"MLFLOW_TRACKING_URI": home.tracking, "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
