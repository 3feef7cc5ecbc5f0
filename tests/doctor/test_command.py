"""`hpo doctor`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.doctor import examine
from pipelines.errors import ConfigError
from tests.patients import Patient

from .findings import OTHER

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find this home."""
    monkeypatch.setenv("HPO_HOME", str(home))


def test_the_command_prints_findings_and_exits_with_4_until_they_are_mended(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(patient.home, monkeypatch)
    leftover = patient.trial(OTHER) / ".model.1.tmp"
    leftover.mkdir()
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == 4
    assert json.loads(shown.stdout) == {
        "ok": False,
        "findings": [
            {
                "invariant": "I9",
                "name": "every file whole, and none that nobody needs",
                "study": "toy",
                "trial": None,
                "what": f"{leftover} is left of a write that was cut short",
                "mendable": True,
                "how": f"--fix: remove {leftover}",
            }
        ],
        "examined": {"studies": 1, "trials": 4, "runs": 5, "checkpoints": 0, "versions": 0},
    }
    shown = CliRunner().invoke(app, ["doctor", "toy"])
    assert shown.exit_code == 4
    assert "all is well" not in shown.stdout
    assert "what is wrong" in shown.stdout
    assert ".model.1.tmp" in shown.stdout
    shown = CliRunner().invoke(app, ["doctor", "--fix", "toy"])
    assert (shown.exit_code, shown.stdout.splitlines()) == (
        0,
        [
            f"study toy: remove {leftover}: done",
            "toy: 4 trials, 5 runs, 0 checkpoints, 0 registered versions: all is well",
        ],
    )


def test_an_unknown_study_is_refused_with_those_that_there_are(patient: Patient) -> None:
    with pytest.raises(ConfigError) as unknown:
        examine(patient.places, study="tuy")
    assert str(unknown.value) == "there is no study 'tuy'; did you mean toy?; there are: toy"


def test_an_empty_home_has_no_studies_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(tmp_path, monkeypatch)
    shown = CliRunner().invoke(app, ["doctor"])
    assert (shown.exit_code, shown.stdout) == (0, "no studies yet; try: hpo run quickstart\n")
    assert list(tmp_path.iterdir()) == []
