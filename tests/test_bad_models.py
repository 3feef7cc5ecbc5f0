"""Names and versions that do not exist, and registered artifacts that somebody touched: refused before anything runs.

The numbers are those of the catalogue of bad input, M01 to M17; what a directory alone shows is in test_loader.py, and
what only answers betray in test_finish.py.
"""

import json
import os
import pickle
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from hpo.cli import main
from pipelines import predict, registry
from pipelines.config import ModelConfig, TokensConfig
from pipelines.connection import connect
from pipelines.errors import ModelError
from pipelines.export import export_model, read_facts, seal
from pipelines.files import sha256
from pipelines.models import load_pretrained, new_classifier
from pipelines.predict import classify
from pipelines.registry import Candidate, find_version, pull, register
from tests.commands import new_home

LABELS = ("bad", "good")
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


def write_model(checkpoint: Path, directory: Path, *, seed: int) -> Path:
    pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=seed).eval()
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=TokensConfig(max_length=12))
    return directory


@pytest.fixture(scope="module")
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


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_of_the_catalogue_has_a_test() -> None:
    here = Path(__file__).parent
    texts = [(here / name).read_text() for name in ("test_bad_models.py", "test_loader.py", "test_finish.py")]
    numbers = {
        number.upper()
        for text in texts
        for number in re.findall(r"def test_(m\d\d)_|\"(M\d\d) ", text)
        for number in number
    }
    assert numbers - {""} == {f"M{number:02}" for number in range(1, 18)}


# --- what there is, and what is meant


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("sentimant", "there is no registered model 'sentimant'; there are: sentiment"),
        (
            "sentiment@boss",
            "sentiment@boss: no such version or alias; aliases: challenger, champion; versions: 1, 2",
        ),
        ("sentiment/3", "sentiment/3: no such version or alias; aliases: challenger, champion; versions: 1, 2"),
        (
            "sentiment/../1",
            "sentiment/../1: a model is NAME, NAME@alias or NAME/version, for instance sentiment@champion",
        ),
        ("a@b@c", "a@b@c: a model is NAME, NAME@alias or NAME/version, for instance sentiment@champion"),
        ("", ": a model is NAME, NAME@alias or NAME/version, for instance sentiment@champion"),
    ],
)
def test_m01_an_unknown_name_alias_or_version_is_refused_with_what_there_is(
    reference: str, expected: str, registered: Registered
) -> None:
    assert refusal(lambda: find_version(registered.client, reference)) == expected


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_m02_a_version_that_is_not_ready_is_refused(status: str, registered: Registered) -> None:
    registered.sql(f"UPDATE model_versions SET status = '{status}' WHERE version = 1")
    for reference in ("sentiment", "sentiment@champion", "sentiment/1"):
        expected = f"{reference}: version 1 is {status}, not READY"
        assert refusal(lambda reference=reference: registered.classify(reference)) == expected  # type: ignore[misc]
    assert registered.classify("sentiment/2")["model"] == "sentiment/2"


def test_m16_an_alias_that_is_deleted_while_it_is_used_does_no_harm(
    registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_first(client: MlflowClient, version: Any, cache: Path) -> Path:
        client.delete_registered_model_alias("sentiment", "champion")
        return registry.pulled(client, version, cache)

    monkeypatch.setattr(predict, "pulled", delete_first)
    assert registered.classify("sentiment@champion")["model"] == "sentiment/1"
    expected = "sentiment: no such version or alias; aliases: challenger; versions: 1, 2"
    assert refusal(lambda: registered.classify("sentiment")) == expected


def test_m17_an_answer_names_the_version_that_gave_it_whatever_the_aliases_are_by_then(
    registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (registered.classify(f"sentiment/{number}") for number in (1, 2))
    assert first["probabilities"] != second["probabilities"]

    def swap_first(client: MlflowClient, version: Any, cache: Path) -> Path:
        client.set_registered_model_alias("sentiment", "champion", "2")
        client.set_registered_model_alias("sentiment", "challenger", "1")
        return registry.pulled(client, version, cache)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "pulled", swap_first)
        assert registered.classify("sentiment@champion") == first
    assert registered.classify("sentiment@champion") == second
    assert registered.classify("sentiment@challenger") == first


# --- artifacts that were touched, in the registry


class Traitor:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


def mark(registered: Registered) -> Path:
    """What exists once any code of an artifact has run."""
    return registered.path / "ran"


def code(registered: Registered) -> str:
    return f"import os\nos.makedirs({str(mark(registered))!r}, exist_ok=True)\n"


def with_pickle(registered: Registered) -> None:
    (registered.model() / "extra.pkl").write_bytes(pickle.dumps(Traitor(mark(registered))))


def with_pickled_weights(registered: Registered) -> None:
    (registered.model() / "model.safetensors").unlink()
    (registered.model() / "pytorch_model.bin").write_bytes(pickle.dumps(Traitor(mark(registered))))
    seal(registered.model(), read_facts(registered.model()))


def with_module(registered: Registered) -> None:
    (registered.model() / "evil.py").write_text(code(registered))
    with_auto_map(registered)


def with_auto_map(registered: Registered) -> None:
    model = registered.model()
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (model / "config.json").write_text(json.dumps(config))
    seal(model, read_facts(model))


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


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """A command's exit code."""
    monkeypatch.setattr(sys, "argv", ["hpo", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


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


# --- MLflow's own files around the model


def with_loader_module(registered: Registered) -> None:
    """Let MLmodel name a loader of its own, as MLflow allows."""
    stored = registered.stored()
    (stored / "code" / "evil_loader.py").write_text(
        code(registered) + "class Model:\n    predict = None\n\ndef _load_pyfunc(path):\n    return Model()\n"
    )
    values = yaml.safe_load((stored / "MLmodel").read_text())
    values["flavors"]["python_function"] |= {"loader_module": "evil_loader", "code": "code"}
    (stored / "MLmodel").write_text(yaml.safe_dump(values))


def test_m06_a_loader_in_mlmodel_is_never_read_by_our_commands(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = registered.classify("sentiment")
    with_loader_module(registered)
    shutil.rmtree(registered.home / "cache")
    assert run(monkeypatch, "pull", "sentiment", str(tmp_path / "out")) == 0
    assert "sentiment version 1 ->" in capsys.readouterr().out
    assert run(monkeypatch, "predict", "sentiment", TEXT, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer == expected
    assert not mark(registered).exists()
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"MLmodel", "code"}


def test_mlflows_own_loader_does_run_it(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the trap above would snap, and ARCHITECTURE.md is right to warn of it."""
    import mlflow.pyfunc

    with_loader_module(registered)
    monkeypatch.setattr(sys, "path", [*sys.path])
    mlflow.pyfunc.load_model(str(registered.stored()))
    assert mark(registered).exists()
    sys.modules.pop("evil_loader", None)


def test_mlflow_gives_the_answers_of_our_commands(registered: Registered) -> None:
    """What registration packs beside the model is our classifier, and it decides as we do."""
    import mlflow.pyfunc

    table = mlflow.pyfunc.load_model(str(registered.stored())).predict([TEXT])
    ours = registered.classify("sentiment")
    assert table["label"].tolist() == [ours["label"]]
    assert np.allclose(table[["p.bad", "p.good"]].to_numpy(), [[*ours["probabilities"].values()]], atol=1e-5)


def test_a_file_of_texts_gets_the_answers_of_its_texts(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text(f"text\n{TEXT}\n")
    out = tmp_path / "out.jsonl"
    assert run(monkeypatch, "predict", "sentiment", "--file", str(tmp_path / "in.csv"), "--out", str(out)) == 0
    ours = registered.classify("sentiment")
    expected = {f"p.{label}": probability for label, probability in ours["probabilities"].items()}
    answer = {"text": TEXT, "label": ours["label"], "probability": ours["probability"]}
    assert json.loads(out.read_text()) == answer | expected


def test_a_touched_artifact_ends_a_command_of_the_shell_with_exit_code_5(registered: Registered) -> None:
    with_module(registered)
    shell = new_home(registered.path, HPO_HOME=str(registered.home))
    done = shell.hpo("predict", "sentiment@champion", TEXT)
    assert done.returncode == 5
    assert done.stderr == "error: sentiment/1: evil.py does not belong into a model; nothing was loaded\n"
    assert not mark(registered).exists()
