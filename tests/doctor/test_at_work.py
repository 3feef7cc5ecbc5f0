"""Who is at work, and what must not be told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Metric

from hpo.doctor import Examination, examine, treat
from hpo.doctor import secrets as doctor_secrets
from hpo.executors.local import LocalExecutor
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.places import Places
from hpo.study import Controller
from pipelines.errors import StorageError
from pipelines.tracking import Tracker
from tests.patients import Found, Patient, fill, run
from tests.stub import instruct

from .findings import FAILED, OTHER, PRUNED, assert_advised

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_process_that_nobody_answers_for_is_found(patient: Patient) -> None:
    log = patient.home / "work/toy/logs/worker-0.log"
    log.parent.mkdir()
    code = f"import sys; file = open({str(log)!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    orphan = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == "open\n"
        found: Found = [("I14", None, f"process {orphan.pid} writes to {log}, and nobody runs the study")]
        assert_advised(patient, found, f"end it: kill {orphan.pid}")
        orphan.kill()
    assert patient.found() == []


def test_passwords_in_records_are_found_and_never_shown(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "c4nary-in-a-coal-mine"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", canary)
    patient.client.set_tag(patient.run_id(OTHER), "note", f"http://me:{canary}@mlflow")
    (patient.trial(FAILED) / "error.txt").write_text(f"login as me with {canary} was refused")
    places = [(OTHER, f"run {patient.run_id(OTHER)}"), (FAILED, f"{patient.trial(FAILED)}/error.txt")]
    found: Found = [
        ("I16", trial, f"{place} holds the password of MLFLOW_TRACKING_PASSWORD") for trial, place in places
    ]
    advice = ["change this password, then take it out of the record"] * 2
    assert_advised(patient, found, *advice)
    assert canary not in json.dumps(examine(patient.places).as_json())


@pytest.mark.parametrize(
    ("url", "text", "expected"),
    [
        ("postgresql://me:long-enough@host/x", "it is long-enough", True),
        ("postgresql://me:a/b@c%21def@host/x", "it is a/b@c!def", True),
        ("postgresql://host/x?user=me&password=long-enough&x=y", "long-enough", True),
        ("postgresql://me:short@host/x", "a short text", False),
        ("postgresql://me:short@host/x", "postgresql://me:short@host/x", True),
        ("postgresql://me@host/x", "postgresql://me@host/x", False),
        ("sqlite:///x.db", "sqlite:///x.db", False),
    ],
)
def test_a_password_is_known_from_its_url(url: str, text: str, expected: bool) -> None:
    secrets = doctor_secrets._secrets(Places(Path("/home"), "sqlite:///y.db", url))
    assert any(doctor_secrets._holds(text, secret) for secret in secrets.values()) is expected


# Studies that are being run


def test_a_study_that_is_being_run_is_not_judged_for_what_is_unfinished(
    home: Path, empty: Path, executor: LocalExecutor
) -> None:
    patient, looks = fill(home, empty), list[Examination]()
    instruct(home / "work" / "toy", pace=0.05)

    def look(controller: Controller) -> None:
        if len(looks) < 4 and any(active.progress for active in controller.running.values()):
            looks.append(examine(patient.places))

    with leased(Ledger(patient.places.storage), "toy"):
        run(home, executor, show=look)
    assert [found.findings for found in looks] == [[]] * 4
    assert {one.note for found in looks for one in found.examined} == {
        "it is being run: only what must hold even then was judged"
    }


def test_what_must_hold_even_then_is_found_in_a_study_that_is_being_run(patient: Patient) -> None:
    (patient.trial(OTHER) / ".model.1.tmp").mkdir()
    patient.client.log_batch(patient.run_id(OTHER), metrics=[Metric("train/loss", 1 / 3, 1, 3)])
    with leased(Ledger(patient.places.storage), "toy"):
        assert patient.found() == [("I5", OTHER, "train/loss at step 3 stands more than once in MLflow")]


def test_a_study_that_is_being_run_is_not_mended(patient: Patient) -> None:
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    said: list[str] = []
    with leased(Ledger(patient.places.storage), "toy"):
        with pytest.raises(StorageError) as refused:
            treat(patient.places, study="toy", say=said.append)
        treat(patient.places, say=said.append)
    assert str(refused.value).startswith("study 'toy' is being run by process ")
    assert said == ["study toy: it is being run, and nothing of it was mended"]
    assert leftover.exists()


def test_a_remedy_that_fails_is_said_and_the_others_are_tried(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    patient.client.set_terminated(patient.run_id(PRUNED), status="FINISHED")

    def refuse(self: Tracker, directory: Path) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr(Tracker, "sync_trial", refuse)
    said, after = patient.treated()
    assert said == [
        f"study toy: remove {leftover}: done",
        f"study toy: could not send to MLflow again {patient.trial(PRUNED)}: the disk is full",
    ]
    assert [one.invariant for one in after.findings] == ["I4"]
