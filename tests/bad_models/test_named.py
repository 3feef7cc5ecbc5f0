"""What there is in the registry, and what is meant."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines import predict, registry
from pipelines.registry import find_version

from .registered import Registered, refusal


def test_all_of_the_catalogue_has_a_test() -> None:
    tests = Path(__file__).parents[1]
    files = [*tests.glob("bad_models/*.py"), *tests.glob("loader/*.py"), *tests.glob("finish/*.py")]
    texts = [file.read_text() for file in files]
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
