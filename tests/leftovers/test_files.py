"""A study's own files, and caches."""

import os
import subprocess

import pytest

from hpo import leftovers
from hpo.doctor import examine
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.leftovers import RECENT_SECONDS, free, survey
from pipelines.files import write_json
from pipelines.registry import copy_name
from pipelines.tokens import content_of
from tests.patients import Patient
from tests.stub import a_spec

from .surveyed import BEST, OTHER, PRUNED, a_file, logged, words


def begin_again(patient: Patient, trials: int = 9) -> None:
    """Give the study a larger budget: it is not over any more."""
    spec = a_spec(budget={"trials": trials})
    Ledger(patient.places.storage).open_study("toy", {}, spec=spec.model_dump_json())
    patient.client.update_run(patient.parent(), status="SCHEDULED")


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
