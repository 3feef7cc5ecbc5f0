"""What a trial was trained with is written down as it begins, and again only when it changes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipelines import provenance
from pipelines.config import RunConfig, replaced
from pipelines.files import write_json
from pipelines.provenance import Session, note_session, note_weights, read_provenance

CONFIG = RunConfig()
ONE, TWO = {"threads": "1", "torch": "2.13.0"}, {"threads": "2", "torch": "2.13.0"}


def sessions(directory: Path) -> tuple[Session, ...]:
    found = read_provenance(directory)
    assert found is not None
    return found.sessions


def test_a_trial_that_goes_on_with_the_same_has_one_session(tmp_path: Path) -> None:
    for step in (0, 40, 80):
        note_session(tmp_path, CONFIG, step=step, facts=ONE)
    assert sessions(tmp_path) == (Session(0, ONE),)


def test_what_changed_on_the_way_is_noted_with_its_step(tmp_path: Path) -> None:
    for step, facts in ((0, ONE), (40, TWO), (60, TWO), (80, ONE)):
        note_session(tmp_path, CONFIG, step=step, facts=facts)
    assert sessions(tmp_path) == (Session(0, ONE), Session(40, TWO), Session(80, ONE))


def test_steps_that_a_crash_took_are_forgotten_with_their_session(tmp_path: Path) -> None:
    for step, facts in ((0, ONE), (40, TWO), (20, ONE)):
        note_session(tmp_path, CONFIG, step=step, facts=facts)
    assert sessions(tmp_path) == (Session(0, ONE),)
    note_session(tmp_path, CONFIG, step=0, facts=TWO)
    assert sessions(tmp_path) == (Session(0, TWO),)


def test_another_configuration_begins_anew(tmp_path: Path) -> None:
    note_session(tmp_path, CONFIG, step=0, facts=ONE)
    other = replaced(CONFIG, {"train.learning_rate": 1e-3})
    note_session(tmp_path, other, step=40, facts=TWO)
    found = read_provenance(tmp_path)
    assert found == provenance.Provenance(other, (Session(40, TWO),))


def test_what_is_known_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_session(tmp_path, CONFIG, step=0, facts=ONE)
    monkeypatch.setattr(provenance, "write_json", lambda *_: pytest.fail("written again"))
    note_session(tmp_path, CONFIG, step=40, facts=ONE)


def test_the_models_hash_stays_when_the_model_goes(tmp_path: Path) -> None:
    note_session(tmp_path, CONFIG, step=0, facts=ONE)
    (tmp_path / "model").mkdir()
    write_json(tmp_path / "model" / "hpo.json", {"files": {"model.safetensors": {"bytes": 7, "sha256": "abc"}}})
    note_weights(tmp_path)
    found = read_provenance(tmp_path)
    assert found is not None
    assert found.weights == "abc"
    note_session(tmp_path, CONFIG, step=80, facts=TWO)
    assert read_provenance(tmp_path) == dataclasses.replace(found, sessions=(*found.sessions, Session(80, TWO)))


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None


def test_changes_to_the_checkout_are_part_of_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "train.py").write_text("rate = 1\n")
    answers: dict[str, Any] = {"rev-parse": "f00", "status": ""}
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    monkeypatch.setattr(provenance, "_git", lambda word, *_: answers[word])
    clean = provenance._code.__wrapped__()
    assert clean["commit"] == "f00"
    answers["status"] = " M pipelines/train.py"
    (tmp_path / "pipelines" / "train.py").write_text("rate = 2\n")
    changed = provenance._code.__wrapped__()
    assert changed["commit"] == "f00 with changes"
    assert changed["training code"] != clean["training code"]
    (tmp_path / ".git").rmdir()
    assert "commit" not in provenance._code.__wrapped__(), "an installed package is no checkout"
