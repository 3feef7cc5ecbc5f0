"""What nothing needs is found and freed; what anything needs stays, whoever is killed on the way."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from typer.testing import CliRunner

from hpo import leftovers
from hpo.cli import app
from hpo.doctor import examine
from hpo.executors.local import LocalExecutor
from hpo.lease import held, leased
from hpo.ledger import Ledger
from hpo.leftovers import RECENT_SECONDS, Survey, free, survey
from pipelines import registry
from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ConfigError
from pipelines.export import export_model
from pipelines.files import sha256, write_json
from pipelines.loader import verify
from pipelines.models import load_pretrained, new_classifier
from pipelines.registry import Candidate, copy_name, register
from pipelines.tokens import content_of
from tests.patients import Patient, fill, keep, run
from tests.stub import a_spec, instruct

BEST, PRUNED, OTHER = range(3)
TRIALS = {"budget": {"trials": 3}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one home of all these tests, filled anew for each."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def promoted(
    home: Path,
    empty_mlflow: Path,
    tiny_bert: Path,
    executor: LocalExecutor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A study that is over, with a real model that was registered twice: version 1 is champion."""
    shutil.copy(empty_mlflow, home / "mlflow.db")
    instruct(home / "work" / "toy", faults={str(PRUNED): "infeasible"})
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


def words(found: Survey) -> list[tuple[str, str]]:
    return [(one.what, one.why) for one in found.leftovers]


def logged(patient: Patient) -> dict[str, LoggedModel]:
    """The logged models in MLflow, by their key."""
    experiment = patient.client.get_experiment_by_name("toy")
    assert experiment is not None
    found = patient.client.search_logged_models([experiment.experiment_id])
    return {one.tags.get(registry.KEY, ""): one for one in found}


def stored(model: LoggedModel) -> list[Path]:
    """The files of a logged model."""
    folder = Path(model.artifact_location.removeprefix("file://"))
    return [file for file in folder.rglob("*") if file.is_file()]


def a_file(path: Path, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def begin_again(patient: Patient, trials: int = 9) -> None:
    """Give the study a larger budget: it is not over any more."""
    spec = a_spec(budget={"trials": trials})
    Ledger(patient.places.storage).open_study("toy", {}, spec=spec.model_dump_json())
    patient.client.update_run(patient.parent(), status="SCHEDULED")


def test_a_finished_study_leaves_nothing_that_could_go(patient: Patient) -> None:
    assert survey(patient.places) == Survey([], [], [])
    assert free(patient.places) == Survey([], [], [])
    assert examine(patient.places).findings == []


# Models in MLflow


def test_of_two_logged_models_that_of_the_deleted_version_alone_is_freed(patient: Patient, tmp_path: Path) -> None:
    models = logged(patient)
    kept, spare = models[f"toy/{BEST}/abc"], models[f"toy/{OTHER}/abc"]
    size = sum(file.stat().st_size for file in stored(spare))
    patient.client.delete_model_version("sentiment", "2")
    found = survey(patient.places)
    why = "it was uploaded for the registry, and no version is made of it"
    assert words(found) == [(f"model {spare.model_id} in MLflow", why)]
    assert found.bytes == size > 100_000
    assert logged(patient).keys() == models.keys(), "looking frees nothing"
    assert free(patient.places).bytes == size
    assert list(logged(patient)) == [f"toy/{BEST}/abc"]
    assert stored(spare) == []
    assert stored(kept)
    version = registry.find_version(patient.client, "sentiment@champion")
    verify(registry.pull(patient.client, version, tmp_path / "pulled"))
    assert examine(patient.places).findings == []
    assert survey(patient.places).leftovers == []


def test_no_logged_model_is_freed_whose_version_exists_under_any_name(patient: Patient) -> None:
    spare = logged(patient)[f"toy/{OTHER}/abc"]
    patient.client.delete_model_version("sentiment", "2")
    patient.client.create_registered_model("elsewhere")
    patient.client.create_model_version("elsewhere", source=f"{spare.artifact_location}/", run_id=patient.run_id(OTHER))
    assert survey(patient.places).leftovers == []
    assert free(patient.places).leftovers == []
    assert stored(spare)


def test_a_model_that_somebody_logged_himself_is_his(patient: Patient) -> None:
    experiment = patient.client.get_experiment_by_name("toy")
    assert experiment is not None
    patient.client.create_logged_model(experiment.experiment_id, name="own")
    patient.client.create_logged_model(experiment.experiment_id, name="own", tags={registry.KEY: "toyland/0/abc"})
    assert survey(patient.places).leftovers == []


def test_a_model_that_was_uploaded_a_moment_ago_may_become_a_version(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.client.delete_model_version("sentiment", "2")
    monkeypatch.setattr(leftovers, "RECENT_SECONDS", RECENT_SECONDS)
    assert survey(patient.places).leftovers == []


def test_whoever_is_killed_in_between_frees_the_rest_the_next_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.client.delete_model_version("sentiment", "2")
    spare = logged(patient)[f"toy/{OTHER}/abc"]

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_logged_model", kill)
        with pytest.raises(KeyboardInterrupt):
            free(patient.places)
    assert stored(spare) == []
    assert held(Ledger(patient.places.storage)) == []
    assert [one.bytes for one in free(patient.places).leftovers] == [0]
    assert examine(patient.places).findings == []
    assert survey(patient.places).leftovers == []


def test_without_mlflow_all_else_is_freed_and_its_copies_stay(patient: Patient) -> None:
    away = replace(patient.places, tracking="sqlite:////nowhere/mlflow.db")
    copy = a_file(patient.home / "cache/models/sentiment-2-abc/model.safetensors")
    a_file(patient.home / "cache/encoded/abc/tokens.arrow")
    patient.client.delete_model_version("sentiment", "2")
    found = free(away)
    assert words(found) == [("cache/encoded/abc", "encoded texts that no unfinished study uses")]
    assert "MLflow does not answer, what it keeps was left alone (" in found.remarks[0]
    assert copy.exists()


# A study's own files


def test_what_finished_trials_left_goes_but_for_the_best_model(patient: Patient) -> None:
    a_file(patient.trial(OTHER) / "checkpoints/step-00000003/model.safetensors", 3000)
    a_file(patient.trial(OTHER) / "checkpoints/step-00000003/.part.12345678.tmp")
    a_file(patient.trial(PRUNED) / "model/model.safetensors", 2000)
    a_file(patient.home / "work/toy/.report.12345678.tmp", 500)
    found = survey(patient.places, study="toy")
    assert {(one.what, one.bytes) for one in found.leftovers} == {
        ("work/toy/trial-00002/checkpoints", 4000),
        ("work/toy/trial-00001/model", 2000),
        ("work/toy/.report.12345678.tmp", 500),
    }
    assert ("work/toy/trial-00002/checkpoints", "is kept, and the trial is finished") in words(found)
    assert found.bytes == 6500
    assert free(patient.places, study="toy").bytes == 6500
    assert (patient.trial(BEST) / "model/model.safetensors").exists()
    assert examine(patient.places).findings == []


def test_what_an_unfinished_trial_needs_stays(patient: Patient) -> None:
    for number in (PRUNED, OTHER):
        a_file(patient.trial(number) / "checkpoints/step-00000003/model.safetensors")
    patient.sql("studies.db", "UPDATE trials SET state = 'RUNNING' WHERE number = ?", OTHER)
    free(patient.places)
    assert (patient.trial(OTHER) / "checkpoints/step-00000003/model.safetensors").exists()
    assert not (patient.trial(PRUNED) / "checkpoints").exists()


def test_nothing_goes_of_a_study_that_is_being_run(patient: Patient) -> None:
    spare = a_file(patient.trial(OTHER) / "checkpoints/step-00000003/model.safetensors")
    encoded = a_file(patient.home / "cache/encoded/abc/tokens.arrow")
    patient.client.delete_model_version("sentiment", "2")
    with leased(Ledger(patient.places.storage), "toy"):
        for look in (survey, free):
            found = look(patient.places)
            assert found.leftovers == []
            assert found.remarks == [
                "study toy is being run: nothing of it can go",
                "the caches stay while anything is being run (toy)",
            ]
    assert spare.exists()
    assert encoded.exists()
    assert len(logged(patient)) == 2


# Caches


def test_the_caches_stay_while_a_study_is_launched_for_the_first_time(patient: Patient) -> None:
    encoded = a_file(patient.home / "cache/encoded/abc/tokens.arrow")
    with leased(Ledger(patient.places.storage), "new"):
        found = free(patient.places)
    assert found.remarks == ["the caches stay while anything is being run (new)"]
    assert encoded.exists()


def an_encoded(patient: Patient, name: str, content: str | None) -> None:
    a_file(patient.home / f"cache/encoded/{name}/tokens.arrow")
    a_file(patient.home / f"cache/encoded/prefixes/{name}/states.bin")
    known = {} if content is None else {"content": content, "rows": f"rows of {name}"}
    write_json(patient.home / f"cache/encoded/{name}/manifest.json", known)
    a_file(patient.home / f"cache/encoded/scratch/{name}/model.safetensors")
    write_json(patient.home / f"cache/encoded/scratch/{name}/manifest.json", known)
    rows = {} if content is None else {"rows": f"rows of {name}"}
    write_json(patient.home / f"cache/encoded/prefixes/{name}/manifest.json", rows)


@pytest.mark.parametrize("over", [True, False])
def test_encoded_texts_stay_as_long_as_an_unfinished_study_uses_their_data(patient: Patient, over: bool) -> None:
    an_encoded(patient, "ours", content_of("digest", "select"))
    an_encoded(patient, "theirs", content_of("other", "select"))
    an_encoded(patient, "whose", None)
    if not over:
        begin_again(patient)
    gone = {"theirs"} if not over else {"ours", "theirs", "whose"}
    found = free(patient.places)
    assert {one.what for one in found.leftovers} == {
        f"cache/encoded/{folder}{name}" for name in gone for folder in ("", "prefixes/", "scratch/")
    }
    left = {path.name for path in (patient.home / "cache/encoded").iterdir()} - {"prefixes", "scratch"}
    assert left == {"ours", "theirs", "whose"} - gone
    for folder in ("prefixes", "scratch"):
        assert {path.name for path in (patient.home / "cache/encoded" / folder).iterdir()} == left


def test_of_copies_of_versions_those_stay_that_an_alias_names(patient: Patient) -> None:
    for number in ("1", "2"):
        version = patient.client.get_model_version("sentiment", number)
        a_file(patient.home / "cache/models" / copy_name(version) / "model.safetensors")
    first, second = sorted((patient.home / "cache/models").iterdir())
    found = free(patient.places)
    why = "copy of a version that no alias names; it is pulled again when asked for"
    assert words(found) == [(f"cache/models/{second.name}", why)]
    assert first.exists()
    assert not second.exists()


def test_a_copy_that_was_just_pulled_stays(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    a_file(patient.home / "cache/models/sentiment-2-abc/model.safetensors")
    a_file(patient.home / "cache/encoded/.abc.12345678.tmp")
    monkeypatch.setattr(leftovers, "RECENT_SECONDS", RECENT_SECONDS)
    assert survey(patient.places).leftovers == []


def test_what_killed_commands_left_in_the_cache_goes(patient: Patient) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"reruns/toy-0-{gone.pid}/log", "models/.pull-abc/model.safetensors", "encoded/.abc.12345678.tmp"):
        a_file(patient.home / "cache" / name)
    assert {one.what for one in free(patient.places).leftovers} == {
        f"cache/reruns/toy-0-{gone.pid}",
        "cache/models/.pull-abc",
        "cache/encoded/.abc.12345678.tmp",
    }
    assert survey(patient.places).leftovers == []


def test_a_replay_that_goes_on_keeps_its_directory_and_the_caches(patient: Patient) -> None:
    mine = a_file(patient.home / f"cache/reruns/toy-0-{os.getpid()}/log")
    encoded = a_file(patient.home / "cache/encoded/abc/tokens.arrow")
    found = free(patient.places)
    assert found.remarks == [f"the caches stay while anything is being run ({mine.parent})"]
    assert mine.exists()
    assert encoded.exists()


# The command


@pytest.fixture
def commanded(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.setenv("HPO_HOME", str(patient.home))
    a_file(patient.trial(OTHER) / "checkpoints/step-00000003/model.safetensors", 2_500_000)
    return patient


def test_the_command_shows_what_could_go_and_frees_it_only_when_told_to(commanded: Patient) -> None:
    shown = CliRunner().invoke(app, ["gc"])
    assert shown.exit_code == 0, shown.output
    assert "work/toy/trial-00002/checkpoints" in shown.output
    assert "2.5 MB could be freed: the same command with --apply does it" in shown.output
    assert (commanded.trial(OTHER) / "checkpoints").exists()
    done = json.loads(CliRunner().invoke(app, ["gc", "toy", "--yes", "--json"]).output)
    assert (done["freed"], done["bytes"], done["failed"]) == (True, 2_500_000, [])
    assert not (commanded.trial(OTHER) / "checkpoints").exists()
    assert "nothing is left that could be freed" in CliRunner().invoke(app, ["gc"]).output


def test_what_cannot_be_freed_is_told_and_the_rest_is_freed(
    commanded: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_file(commanded.trial(PRUNED) / "model/model.safetensors")
    vanish = leftovers._vanish

    def refuse(path: Path) -> None:
        if path.name == "checkpoints":
            raise PermissionError(13, "Permission denied")
        vanish(path)

    monkeypatch.setattr(leftovers, "_vanish", refuse)
    done = CliRunner().invoke(app, ["gc", "--apply"])
    assert done.exit_code == 4
    assert "work/toy/trial-00002/checkpoints could not be freed: [Errno 13] Permission denied" in done.output
    assert not (commanded.trial(PRUNED) / "model").exists()


def test_a_study_that_does_not_exist_is_refused_and_a_home_without_any_is_empty(
    patient: Patient, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="there is no study 'tow'; did you mean toy"):
        survey(patient.places, study="tow")
    empty = replace(patient.places, home=tmp_path, storage=f"sqlite:///{tmp_path}/studies.db")
    assert survey(empty) == Survey([], [], [])
    assert list(tmp_path.iterdir()) == []
