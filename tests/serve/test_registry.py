"""Versions of a real registry are pulled, proved and served, by the runtime that is asked for."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from requests import ConnectionError

from pipelines import registry
from pipelines.connection import connect
from pipelines.errors import ModelError
from pipelines.predictions import Predictions, write_parquet
from pipelines.registry import CHAMPION, Candidate
from pipelines.serve import sources
from pipelines.serve.runtimes import Kind, open_runtime
from pipelines.serve.sources import DirectorySource, RegistrySource
from tests.serving import LABELS, a_client, a_model

from .watched import Watched


def registered(client: MlflowClient, directory: Path, *, key: str, home: Path) -> str:
    """A version with a run that has locked scores."""
    from pipelines.files import sha256

    found = client.get_experiment_by_name("study")
    location = (home / "artifacts").as_uri()
    experiment = found.experiment_id if found else client.create_experiment("study", artifact_location=location)
    run = client.create_run(experiment).info.run_id
    client.log_param(run, "model.name", "minilm")
    client.log_batch(run, metrics=[Metric("test/accuracy", 0.75, 0, 0), Metric("test/log_loss", 0.5, 0, 0)])
    labels = np.arange(40) % 2
    said = np.where(np.arange(40) < 30, labels, 1 - labels)
    probabilities = np.where(np.arange(2) == said[:, None], 0.9, 0.1)
    texts = [f"text {row}" for row in range(40)]
    write_parquet(Predictions(texts, texts, labels, probabilities, LABELS), home / "predictions.parquet")
    client.log_artifact(run, str(home / "predictions.parquet"), "test")
    tags = {"hpo.study": "study", "hpo.weights": sha256(directory / "model.safetensors")}
    version = registry.register(client, "sentiment", Candidate(key, run, directory, "", tags))
    return str(version.version)


def test_versions_of_the_registry_are_pulled_proved_and_served(
    models: dict[str, Path], empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.court import pack

    monkeypatch.setattr(registry, "_packed", pack)
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)
    first = registered(client, models["sound"], key="study/1/a", home=tmp_path)
    client.set_registered_model_alias("sentiment", CHAMPION, first)
    source = RegistrySource("sentiment", tracking=uri, cache=tmp_path / "cache", kind=Kind.TORCH, say=print)
    assert (source.main, source.slots) == ("champion", ("champion", "challenger"))
    watched = Watched(source)  # type: ignore[arg-type]
    assert watched.look() == ("1", None, None)

    page = a_client(watched.shelf).get("/v1/model").json()
    assert (page["runtime"], page["labels"], page["max_length"]) == ("torch", list(LABELS), 12)
    assert (page["study"], page["base_model"], page["card"]) == ("study", "minilm", "# The card")
    assert page["scores"]["log_loss"] == {"value": 0.5, "low": None, "high": None}
    accuracy = page["scores"]["accuracy"]
    assert accuracy["value"] == 0.75
    assert 0.55 < accuracy["low"] < 0.7 < 0.8 < accuracy["high"] < 0.95

    from pipelines.loader import open_model

    texts = ["a charming film", "the plot was bland, " * 9]
    answers = a_client(watched.shelf).post("/v1/predict", json={"texts": texts}).json()["predictions"]
    expected = open_model(models["sound"]).probabilities(texts)
    found = [[one["probabilities"][label] for label in LABELS] for one in answers]
    assert np.array(found) == pytest.approx(expected, abs=1e-6)
    assert [one["truncated"] for one in answers] == [False, True]

    second = registered(client, models["bad"], key="study/2/b", home=tmp_path)
    client.set_registered_model_alias("sentiment", CHAMPION, second)
    assert watched.look() == ("1", None, "version 2 was refused; version 1 goes on answering")
    assert "its answers are not those that it gave when it was written" in watched.said[-1]
    client.delete_registered_model_alias("sentiment", CHAMPION)
    assert watched.look()[2] == "sentiment@champion names no version any more; version 1 goes on answering"

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("https://user:CANARY@registry: connection refused")

    monkeypatch.setattr(MlflowClient, "search_registered_models", away)
    assert watched.look()[::2] == ("1", "the registry does not answer")
    assert "connection refused" in watched.said[-1]
    assert "CANARY" not in watched.said[-1]

    directory = DirectorySource(models["sound"], cache=tmp_path, kind=Kind.TORCH, say=print)
    served = directory.load(directory.main)
    assert (served.name, served.facts.card) == ("model", "# The card")


def test_a_directory_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model of ours \(hpo.json is missing\); see: hpo pull"):
        DirectorySource(tmp_path, cache=tmp_path, kind=Kind.TORCH, say=print)


@pytest.mark.parametrize(
    ("reference", "main", "slots"),
    [
        ("sentiment", "champion", ("champion", "challenger")),
        ("sentiment@challenger", "challenger", ("challenger", "champion")),
        ("sentiment@staging", "staging", ("staging", "champion", "challenger")),
        ("sentiment/3", "3", ("3", "champion", "challenger")),
    ],
)
def test_a_reference_says_what_is_followed(
    reference: str, main: str, slots: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "connect", lambda uri: None)
    monkeypatch.setattr(sources.registry, "find_version", lambda client, reference: a_model())
    source = RegistrySource(reference, tracking="sqlite:///x", cache=tmp_path, kind=Kind.TORCH, say=print)
    assert (source.name, source.main, source.slots) == ("sentiment", main, slots)


# Runtimes


class Opened:
    """Stands for `pipelines.onnx.runtime`."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def open_onnx(self, directory: Path, *, int8: bool, home: Path, aside: bool) -> tuple[str, bool]:
        if self.fails:
            raise ModelError("the exported model differs by 0.3")
        return "onnx", int8


@pytest.mark.parametrize(
    ("kind", "fails", "expected"),
    [
        (Kind.TORCH, True, ("torch", "proved")),
        (Kind.ONNX, False, ("onnx", ("onnx", False))),
        (Kind.ONNX_INT8, False, ("onnx-int8", ("onnx", True))),
        (Kind.AUTO, False, ("onnx", ("onnx", False))),
        (Kind.AUTO, True, ("torch", "proved")),
    ],
)
def test_auto_is_onnx_where_it_answers_as_pytorch_does(
    kind: Kind, fails: bool, expected: tuple[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pipelines.onnx.runtime", Opened(fails))
    monkeypatch.setattr("pipelines.serve.runtimes.prove", lambda directory: "proved")
    said: list[str] = []
    assert open_runtime(Path("x"), kind, exports=Path("y"), say=said.append) == expected
    if kind is Kind.AUTO and fails:
        assert said == ["ONNX cannot be used for this model, PyTorch answers: the exported model differs by 0.3"]
    if fails:
        with pytest.raises(ModelError, match="differs"):
            open_runtime(Path("x"), Kind.ONNX, exports=Path("y"), say=print)
