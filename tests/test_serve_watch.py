"""A new champion takes over, a bad one does not, and whatever happens to the registry, what answers goes on."""

import http.client
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from requests import ConnectionError

from pipelines import registry
from pipelines.connection import connect
from pipelines.errors import ModelError, StorageError
from pipelines.predictions import Predictions, write_parquet
from pipelines.registry import CHAMPION, Candidate
from pipelines.serve import sources
from pipelines.serve.metrics import Metrics
from pipelines.serve.runtimes import Kind, open_runtime
from pipelines.serve.served import Served, Shelf
from pipelines.serve.sources import DirectorySource, RegistrySource
from pipelines.serve.watch import Watch
from tests.faults import shows
from tests.serving import LABELS, MadeUp, Registry, a_client, a_model, live


class Watched:
    """A watch over made-up versions, looked through step by step."""

    def __init__(self, source: Registry) -> None:
        self.said: list[str] = []
        self.now = 0.0
        self.shelf, self.metrics = Shelf(source.main), Metrics()
        self._watch = Watch(source, self.shelf, metrics=self.metrics, say=self.said.append, clock=lambda: self.now)

    def look(self) -> tuple[str | None, str | None, str | None]:
        """Champion, challenger, and what is wrong, after a look."""
        self._watch.look()
        models = (self.shelf.look(slot) for slot in ("champion", "challenger"))
        champion, challenger = (model.version if model else None for model in models)
        return champion, challenger, self.shelf.notice("champion")


def test_a_promoted_version_takes_over_and_is_loaded_once() -> None:
    source = Registry(champion="1", challenger="2")
    watched = Watched(source)
    assert watched.look() == ("1", "2", None)
    assert watched.look() == ("1", "2", None)
    source.aliases = {"champion": "2", "challenger": None}
    assert watched.look() == ("2", None, None)
    assert source.loads == ["1", "2"]
    assert watched.said == [
        "sentiment version 1 answers as champion (torch)",
        "sentiment version 2 answers as challenger (torch)",
        "sentiment version 2 answers as champion (torch)",
    ]
    page = watched.metrics.page().decode()
    assert 'hpo_model{name="sentiment",slot="champion",version="2"} 1.0' in page
    assert 'slot="challenger"' not in page
    assert 'version="1"' not in page


@shows("damaged file", "K")
def test_a_bad_version_is_refused_and_the_old_one_stays() -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    watched.look()
    source.bad, source.aliases["champion"] = {"2"}, "2"
    notice = "version 2 was refused; version 1 goes on answering"
    assert watched.look() == ("1", None, notice)
    assert watched.look() == ("1", None, notice), "it is not tried at each look"
    assert source.loads == ["1", "2"]
    assert watched.said[1:] == [f"{notice}: /secret/place/2: damaged"]
    client = a_client(watched.shelf)
    assert client.get("/readyz").json() == {"status": "ready", "notice": notice}
    assert client.get("/v1/model").json()["notice"] == notice
    assert 'hpo_versions_total{outcome="refused"} 1.0' in watched.metrics.page().decode()
    source.bad, watched.now = set(), 60.0
    assert watched.look() == ("2", None, None), "it is tried again after a while"


def test_a_version_that_gives_no_numbers_is_refused() -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    watched.look()
    broken = MadeUp()
    broken.probabilities = lambda texts: np.full((len(texts), 2), np.nan)  # type: ignore[method-assign]
    source.models["2"] = a_model("2", broken)
    source.aliases["champion"] = "2"
    assert watched.look() == ("1", None, "version 2 was refused; version 1 goes on answering")


@shows("tracker away", "K")
def test_the_registry_may_be_away() -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    watched.look()
    source.away = StorageError("tracking sqlite:///secret: no answer")
    for _ in range(3):
        assert watched.look() == ("1", None, "the registry does not answer")
    said = "the registry does not answer: tracking sqlite:///secret: no answer"
    assert watched.said.count(said) == 2, "once for each alias"
    assert "hpo_registry_answers 0.0" in watched.metrics.page().decode()
    source.away, source.aliases["champion"] = None, "2"
    assert watched.look() == ("2", None, None)
    assert "hpo_registry_answers 1.0" in watched.metrics.page().decode()


def test_a_registry_that_goes_away_while_a_version_is_loaded_does_not_speak_against_the_version() -> None:
    source = Registry(champion="1")
    watched = Watched(source)

    def load(version: str) -> Served:
        raise StorageError("tracking: no answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load", load)
        assert watched.look() == (None, None, "the registry does not answer")
    assert watched.look()[0] == "1", "it is tried again at the next look"


def test_a_model_that_answers_already_is_not_warmed_up() -> None:
    """Runtimes answer one thread at a time, and the watch is another one."""
    source = Registry(champion="1", challenger="2")
    watched = Watched(source)
    watched.look()
    source.aliases = {"champion": "2", "challenger": None}
    watched.look()
    runtime = source.models["2"].runtime
    assert isinstance(runtime, MadeUp)
    assert len(runtime.asked) == 1


def test_an_error_of_a_library_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    source.version = lambda slot: 1 // 0  # type: ignore[method-assign, assignment]
    assert watched.look() == (None, None, "the registry cannot be watched")
    assert "division" in caplog.text
    del source.version  # type: ignore[method-assign]
    assert watched.look() == ("1", None, None)


def test_m16_an_alias_that_is_deleted_leaves_the_old_version_and_says_so() -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    watched.look()
    source.aliases["champion"] = None
    notice = "sentiment@champion names no version any more; version 1 goes on answering"
    assert watched.look() == ("1", None, notice)
    assert a_client(watched.shelf).post("/v1/predict", json={"text": "good"}).json()["model"]["version"] == "1"
    source.aliases["champion"] = "1"
    assert watched.look() == ("1", None, None)


def test_m17_aliases_that_are_swapped_are_followed() -> None:
    source = Registry(champion="1", challenger="2")
    watched = Watched(source)
    watched.look()
    source.aliases = {"champion": "2", "challenger": "1"}
    assert watched.look() == ("2", "1", None)
    assert "1" in {model.version for model in map(watched.shelf.look, source.slots) if model}


@shows("changed spec or data", "K")
def test_a_version_with_other_classes_takes_over_whole() -> None:
    source = Registry(champion="1")
    watched = Watched(source)
    watched.look()
    source.models["2"] = a_model("2", MadeUp(("awful", "fine")))
    source.aliases["champion"] = "2"
    watched.look()
    client = a_client(watched.shelf)
    assert client.get("/v1/model").json()["labels"] == ["awful", "fine"]
    assert client.post("/v1/predict", json={"text": "good"}).json()["predictions"][0]["label"] == "fine"


def test_h30_a_version_is_loaded_while_a_load_of_requests_is_answered() -> None:
    source = Registry(champion="1")
    shelf, stop, slow = Shelf("champion"), threading.Event(), source.load

    def load(version: str) -> object:
        time.sleep(0.3)
        return slow(version)

    source.load = load  # type: ignore[method-assign, assignment]
    watch = Watch(source, shelf, metrics=Metrics(), say=lambda line: None, every=0.05)
    watch.look()
    watch.start()
    answers: list[tuple[int, str]] = []
    with live(shelf) as port:
        connection = http.client.HTTPConnection("localhost", port, timeout=10)
        end = time.monotonic() + 20
        while not stop.is_set() and time.monotonic() < end:
            connection.request("POST", "/v1/predict", b'{"text": "good"}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answers.append((answer.status, json.loads(answer.read())["model"]["version"]))
            if len(answers) == 20:
                source.aliases["champion"] = "2"
            if answers[-1][1] == "2":
                stop.set()
        connection.close()
    watch.stop()
    assert {status for status, _ in answers} == {200}
    versions = [version for _, version in answers]
    assert versions == sorted(versions), "first all of one version, then all of the next"
    assert versions.count("1") > 20, "the old one answered while the new one was loaded"


# The registry itself


@pytest.fixture(scope="module")
def models(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small models with golden predictions, of which `bad` does not give them."""
    from pipelines.config import ModelConfig, TokensConfig
    from pipelines.export import export_model, read_facts, seal
    from pipelines.files import read_json, write_json, write_text
    from pipelines.golden import write_golden
    from pipelines.hpo_classifier import Classifier
    from pipelines.models import load_pretrained, new_classifier

    home = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("sound", "bad"), start=1):
        pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
        network = new_classifier(pretrained, dropout=None, seed=number).eval()
        directory = home / name / "model"
        export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=TokensConfig(max_length=12))
        write_golden(Classifier(directory, device="cpu"), directory)
        write_text(directory / "README.md", "---\ntags: []\n---\n\n# The card\n")
        if name == "bad":
            golden = read_json(directory / "golden.json")
            golden["probabilities"] = (1 - np.array(golden["probabilities"])).tolist()
            write_json(directory / "golden.json", golden)
        seal(directory, read_facts(directory))
    return {name: home / name / "model" for name in ("sound", "bad")}


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
