"""`hpo gc`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo import leftovers
from hpo.cli import app
from hpo.leftovers import Survey, survey
from pipelines.errors import ConfigError
from tests.patients import Patient

from .surveyed import OTHER, PRUNED, a_file


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
