"""The alias is watched: a promoted version takes over, a bad one does not."""

import http.client
import json
import threading
import time

import numpy as np
import pytest

from pipelines.errors import StorageError
from pipelines.serve.metrics import Metrics
from pipelines.serve.served import Served, Shelf
from pipelines.serve.watch import Watch
from tests.faults import shows
from tests.serving import MadeUp, Registry, a_client, a_model, live

from .watched import Watched


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
