"""Settings from the command line, by their addresses."""

from pathlib import Path

import pytest

from hpo.specfile import find_spec, read_spec, shipped_studies
from pipelines.errors import ConfigError

from .written import Refusal, spec_of


@pytest.mark.parametrize("override", ["train.epochs=2", "run.train.epochs=2", "train.epochs=2.0", "train.epochs= 2 "])
def test_an_override_sets_a_value_by_its_address(tmp_path: Path, override: str) -> None:
    assert spec_of(tmp_path, "run: {train: {epochs: 5}}", override).run.train.epochs == 2.0
    assert spec_of(tmp_path, "seed: 1", override).run.train.epochs == 2.0


def test_overrides_are_yaml_and_the_last_one_counts(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "budget: {trials: 3}",
        *("objective=[accuracy, log_loss]", "train.max_grad_norm=null", "train.learning_rate=1e-5", "name=a", "name=b"),
        "lora.rank=8",
        *("sampler=random", "space.train.batch_size=[8, 16]", "data.label_names={0: bad, 1: good}", "data.text="),
    )
    assert [objective.metric for objective in spec.objective] == ["accuracy", "log_loss"]
    assert (spec.run.train.max_grad_norm, spec.run.train.learning_rate, spec.name) == (None, 1e-5, "b")
    assert (spec.sampler.name, spec.space["train.batch_size"].choices) == ("random", [8, 16])
    assert (spec.run.data.label_names, spec.run.data.text) == ({"0": "bad", "1": "good"}, None)
    assert (spec.budget.trials, spec.run.lora.rank) == (3, 8)


_RANGED = "space: {train.learning_rate: {low: 1e-5, high: 1e-3, log: true}, train.batch_size: [8, 16]}"


def test_an_override_reaches_into_a_dimension(tmp_path: Path) -> None:
    dimension = spec_of(tmp_path, _RANGED, "space.train.learning_rate.low=1e-6").space["train.learning_rate"]
    assert (dimension.low, dimension.high, dimension.log) == (1e-6, 1e-3, True)
    spec = spec_of(tmp_path, _RANGED, "space.train.learning_rate.per_model.minilm={low: 1e-4, high: 2e-4}")
    assert spec.space["train.learning_rate"].per_model["minilm"].high == 2e-4


@pytest.mark.parametrize("override", ["train.learning_rate=2e-5", "run.train.learning_rate=2e-5"])
def test_a_setting_that_is_fixed_is_no_longer_searched(tmp_path: Path, override: str) -> None:
    spec = spec_of(tmp_path, _RANGED, override)
    assert list(spec.space) == ["train.batch_size"]
    assert spec.run.train.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.epochs", "train.epochs: an override has the form path=value, for instance train.epochs=2"),
        ("=3", "=3: an override has the form path=value, for instance train.epochs=2"),
        ("train.epochs=[1", "train.epochs: train.epochs=[1:1:3: expected ',' or ']', but got '<stream end>'"),
        ("train.epochs=", "run.train.epochs: should be a valid number, not None"),
        ("train.epohs=2", "run.train.epohs: no such key; did you mean epochs?"),
        ("bogus.key=2", "bogus: no such key"),
        ("seed.x=2", "seed.x: seed holds a value, not further keys"),
        (
            "space.train.batch_size.low=4",
            "space.train.batch_size.low: train.batch_size holds a value, not further keys",
        ),
        ("space.train.learning_rate.low=1", "space.train.learning_rate: low 1 is above high 0.001"),
        ("name=!!python/name:os.system", "name: name=!!python/name:os.system:1:1: tags (!!python/name:os.system) are"),
    ],
)
def test_a_malformed_override_is_reported_by_its_address(refusal: Refusal, override: str, fault: str) -> None:
    (found,) = refusal(f"seed: 1\n{_RANGED}", override)
    assert found.startswith(fault)


def test_a_file_wins_over_a_shipped_study_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_spec("quickstart") == shipped_studies()["quickstart"]
    Path("quickstart").write_text("name: mine")
    assert read_spec("quickstart").name == "mine"


def test_a_study_that_is_nowhere_is_answered_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_spec("quickstrat")
    assert str(caught.value) == (
        "quickstrat: no such file, and no shipped study of that name; did you mean quickstart?"
    )
    with pytest.raises(ConfigError, match="zzz: no such file, and no shipped study of that name; shipped studies: "):
        read_spec("zzz")
