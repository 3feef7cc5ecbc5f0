"""Artifacts that were touched in the registry are refused, and nothing of them runs."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.export import read_facts, seal
from pipelines.registry import find_version, pull

from .registered import TEXT, Registered, code, mark, refusal, run, with_auto_map, with_module


class Traitor:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


def with_pickle(registered: Registered) -> None:
    (registered.model() / "extra.pkl").write_bytes(pickle.dumps(Traitor(mark(registered))))


def with_pickled_weights(registered: Registered) -> None:
    (registered.model() / "model.safetensors").unlink()
    (registered.model() / "pytorch_model.bin").write_bytes(pickle.dumps(Traitor(mark(registered))))
    seal(registered.model(), read_facts(registered.model()))


def with_zip(registered: Registered) -> None:
    (registered.model() / "model.zip").write_bytes(b"PK\x05\x06" + bytes(18))


def with_folder(registered: Registered) -> None:
    (registered.model() / "code").mkdir()
    (registered.model() / "code" / "config.json").write_text("{}")


def with_link(registered: Registered) -> None:
    """A link in the store that leads out of it, to a file of the machine that fetches the model."""
    (registered.path / "secret.json").write_text('{"secret": 1}')
    (registered.model() / "config.json").unlink()
    (registered.model() / "config.json").symlink_to(registered.path / "secret.json")


def without_weights(registered: Registered) -> None:
    (registered.model() / "model.safetensors").unlink()


def truncated(registered: Registered) -> None:
    os.truncate(registered.model() / "model.safetensors", 1000)


def with_other_weights(registered: Registered) -> None:
    shutil.copy(registered.model(2) / "model.safetensors", registered.model() / "model.safetensors")
    seal(registered.model(), read_facts(registered.model()))


WRONG = "sentiment/1: "
TOUCHED: dict[str, tuple[Callable[[Registered], None], str]] = {
    "M06 pickle": (with_pickle, WRONG + "extra.pkl does not belong into a model; nothing was loaded"),
    "M06 pickled weights": (
        with_pickled_weights,
        WRONG + "pytorch_model.bin does not belong into a model; nothing was loaded",
    ),
    "M06 module": (with_module, WRONG + "evil.py does not belong into a model; nothing was loaded"),
    "M06 auto_map": (with_auto_map, "its configuration wants to run code (auto_map); nothing was loaded"),
    "M15 zip": (with_zip, WRONG + "model.zip does not belong into a model; nothing was loaded"),
    "M07 folder": (with_folder, WRONG + "code does not belong into a model; nothing was loaded"),
    "M07 link": (with_link, WRONG + "cannot be downloaded: "),
    "M03 missing": (without_weights, "model.safetensors: missing; pull the model again"),
    "M04 truncated": (truncated, "model.safetensors: damaged (its content is not what was written)"),
    "M05 other weights": (with_other_weights, WRONG + "the weights are not those that were registered"),
}


@pytest.mark.parametrize("kind", TOUCHED)
def test_a_touched_artifact_is_refused_by_pull_and_predict_and_nothing_of_it_runs(
    kind: str,
    registered: Registered,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    touch, expected = TOUCHED[kind]
    touch(registered)
    monkeypatch.setattr("pipelines.hpo_classifier.Classifier.__init__", lambda *_, **__: pytest.fail("it was loaded"))
    for words in (("pull", "sentiment", str(tmp_path / "out")), ("predict", "sentiment@champion", TEXT)):
        assert run(monkeypatch, *words) == 5
        said = " ".join(capsys.readouterr().err.split())
        assert said.startswith("error: ")
        assert expected in said
    assert not mark(registered).exists()
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir()), "no leftovers"


def test_the_other_version_is_still_as_good(
    registered: Registered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_module(registered)
    assert run(monkeypatch, "predict", "sentiment/2", TEXT, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["model"] == "sentiment/2"


def test_m14_an_artifact_that_is_too_large_is_refused_before_it_is_fetched(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (registered.model() / "model.safetensors").open("ab") as file:
        file.truncate(21 * 2**30)  # takes no room on the disk
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", lambda *_, **__: pytest.fail("it was fetched"))
    version = find_version(registered.client, "sentiment")
    assert refusal(lambda: pull(registered.client, version, tmp_path / "out")) == (
        "sentiment/1: model.safetensors: 22548578304 bytes are more than the 21474836480 that it may have; "
        "nothing was loaded"
    )


def test_m07_a_store_that_lists_files_outside_the_model_is_refused(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.entities import FileInfo
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    honest = LocalArtifactRepository.list_artifacts
    lie = FileInfo("model/../../../config.json", False, 10)
    monkeypatch.setattr(LocalArtifactRepository, "list_artifacts", lambda *words: [*honest(*words), lie])
    outside = tmp_path / "here" / "pulled"
    version = find_version(registered.client, "sentiment")
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", lambda *_, **__: pytest.fail("it was fetched"))
    assert "outside the model" in refusal(lambda: pull(registered.client, version, outside))
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_damaged_copy_in_the_cache_is_fetched_again(registered: Registered) -> None:
    before = registered.classify("sentiment")
    (copy,) = (registered.home / "cache" / "models").glob("sentiment-1-*/")
    (copy / "evil.py").write_text(code(registered))
    assert registered.classify("sentiment") == before
    assert not (copy / "evil.py").exists()
