"""`hpo promote`, `hpo rollback` and `hpo history`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.promotion import Winner
from pipelines.errors import ModelError
from tests.court import Court

from .killing import NOT_BETTER, three_champions

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_history_tells_who_reigned_and_what_was_decided(court: Court, hpo: Callable[..., Any]) -> None:
    court.asks("one", right=320)
    court.asks("two", right=390)
    court.asks("three", right=390, first=5)
    shown = hpo("history", "sentiment", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["model"], found["champion"]) == ("sentiment", "2")
    assert [(row["version"], row["previous"], row["kind"]) for row in found["history"]] == [
        ("1", None, "promoted"),
        ("2", "1", "promoted"),
    ]
    refused = found["decisions"][2]
    assert (refused["version"], refused["alias"], refused["reason"]) == ("3", "challenger", NOT_BETTER)
    assert refused["verdict"].keys() >= {"test", "difference", "low", "high", "p", "level", "opening"}
    text = hpo("history", "sentiment").stdout
    assert "sentiment: who was champion" in text
    assert f"sentiment version 3 is challenger: {NOT_BETTER}\n" in text
    assert "\n    exact McNemar: p 0.623, level 0.00338, policy better\n    opening 3 of these test rows" in text
    unknown = hpo("history", "sentimant")
    assert unknown.exit_code == 1, "a UserError, which main turns into one line"
    assert isinstance(unknown.exception, ModelError)
    assert str(unknown.exception) == (
        "nothing was decided about a registered model 'sentimant'; did you mean sentiment?; known are: sentiment"
    )


def test_rollback_says_who_is_champion_again(court: Court, hpo: Callable[..., Any]) -> None:
    three_champions(court)
    shown = hpo("rollback", "sentiment")
    assert (shown.exit_code, shown.stdout) == (0, "sentiment version 2 is champion again: back from version 3\n")
    shown = json.loads(hpo("rollback", "sentiment", "--json").stdout)
    assert (shown["model"], shown["version"], shown["previous"], shown["kind"]) == ("sentiment", "1", "2", "rollback")
    refused = hpo("rollback", "sentiment")
    assert isinstance(refused.exception, ModelError)
    assert isinstance(hpo("rollback", "o'brien").exception, ModelError)


def test_an_empty_home_has_no_history_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["history", "sentiment"])
    assert str(shown.exception) == "nothing was decided about a registered model 'sentiment'; known are: none"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--force"], ["--why", "it is smaller"], ["--force", "--why", " "]])
def test_force_and_its_reason_go_together(words: list[str]) -> None:
    shown = CliRunner().invoke(app, ["promote", "study", *words])
    assert str(shown.exception) == (
        '--force and --why go together: hpo promote STUDY --force --why "the reason, for the record"'
    )
    assert shown.exception.exit_code == 2  # type: ignore[union-attr]


def test_a_winner_is_a_plain_value() -> None:
    assert Winner(3, Path("a"), "trial-00003") == Winner(3, Path("a"), "trial-00003")
