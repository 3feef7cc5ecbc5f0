"""Dimensions of a space, and the settings that a proposal becomes."""

from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from hpo.space import (
    SEARCHABLE,
    SETTINGS,
    address_of,
    default_trials,
    most_demanding,
    space_problems,
    suggest,
    trial_config,
)
from hpo.spec import StudySpec
from pipelines.config import RunConfig
from pipelines.families import FAMILIES

from .spaces import _TWO_MODELS, a_spec


def proposals(spec: StudySpec, count: int = 60) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What a random sampler proposes: values by address, and Optuna's own parameters."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    pairs = []
    for _ in range(count):
        trial = study.ask()
        pairs.append((suggest(trial, spec), trial.params))
    return pairs


def test_a_choice_keeps_its_type() -> None:
    space = {"train.batch_size": [8, 16], "train.max_grad_norm": [None, 1.0], "train.schedule": ["linear", "cosine"]}
    found = [values for values, _ in proposals(a_spec(space))]
    for address, dimension in space.items():
        assert {(type(values[address]), values[address]) for values in found} == {(type(one), one) for one in dimension}


@pytest.mark.parametrize(
    "address",
    [
        "tokens.max_length",
        "train.batch_size",
        "train.micro_batch_size",
        "train.frozen_layers",
        "lora.rank",
        "scratch.layers",
        "scratch.heads",
    ],
)
def test_a_whole_number_is_searched_in_whole_numbers(address: str) -> None:
    found = [values[address] for values, _ in proposals(a_spec({address: {"low": 4, "high": 9}}))]
    assert {type(value) for value in found} == {int}
    assert set(found) == set(range(4, 10))


def test_every_searchable_range_gives_values_that_the_setting_accepts() -> None:
    numbers = [address for address in SEARCHABLE if type(SETTINGS[address]) in (int, float)]
    for address in numbers:
        ends = {"low": 4, "high": 9} if isinstance(SETTINGS[address], int) else {"low": 0.25, "high": 0.75}
        spec = a_spec({address: ends})
        assert space_problems(spec) == []
        for values, _ in proposals(spec, 3):
            assert type(values[address]) is type(SETTINGS[address])
            assert trial_config(spec, values)
    assert len(numbers) >= 10


def test_steps_and_logarithms_are_kept() -> None:
    spec = a_spec(
        {
            "train.weight_decay": {"low": 0.0, "high": 0.3, "step": 0.1},
            "train.batch_size": {"low": 8, "high": 32, "step": 8},
            "tokens.max_length": {"low": 8, "high": 512, "log": True},
            "train.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True},
        }
    )
    found = [values for values, _ in proposals(spec, 200)]
    assert {round(values["train.weight_decay"], 6) for values in found} == {0.0, 0.1, 0.2, 0.3}
    assert {values["train.batch_size"] for values in found} == {8, 16, 24, 32}
    assert {type(values["tokens.max_length"]) for values in found} == {int}
    for address, middle in (("train.learning_rate", 1e-4), ("tokens.max_length", 64)):  # of the logarithms
        assert 70 < sum(values[address] < middle for values in found) < 130


def test_a_range_of_one_model_is_a_parameter_of_its_own() -> None:
    pairs = proposals(a_spec(_TWO_MODELS))
    assert {values["model.name"] for values, _ in pairs} == {"bert", "gpt2"}
    for values, parameters in pairs:
        assert set(values) == set(_TWO_MODELS)
        if values["model.name"] == "bert":
            assert set(parameters) == {"model.name", "train.learning_rate", "train.batch_size[bert]"}
            assert 1e-5 <= values["train.learning_rate"] <= 1e-4
            assert 32 <= values["train.batch_size"] <= 64
        else:
            assert set(parameters) == {"model.name", "train.learning_rate[gpt2]", "train.batch_size"}
            assert 1e-3 <= values["train.learning_rate"] <= 1e-2
            assert values["train.batch_size"] in {8, 16}
        assert {address_of(name): value for name, value in parameters.items()} == values


def test_without_a_choice_of_models_the_model_of_the_study_decides() -> None:
    space = {"train.learning_rate": _TWO_MODELS["train.learning_rate"]}
    for model, name in (("gpt2", "train.learning_rate[gpt2]"), ("bert", "train.learning_rate")):
        for _, parameters in proposals(a_spec(space, model={"name": model}), 3):
            assert set(parameters) == {name}


def test_a_sampled_value_comes_before_run_before_family_before_default() -> None:
    family = FAMILIES["roberta"].defaults
    spec = a_spec(
        {"train.learning_rate": {"low": 0.1, "high": 0.5}},
        model={"name": "roberta"},
        train={"learning_rate": 0.3, "warmup_ratio": 0.25},
    )
    config = trial_config(spec, {"train.learning_rate": 0.2})
    assert config.train.learning_rate == 0.2  # sampled, although run says otherwise
    assert config.train.warmup_ratio == 0.25 != family["train.warmup_ratio"]  # said by run
    assert config.train.weight_decay == family["train.weight_decay"] != RunConfig().train.weight_decay  # the family's
    assert config.train.epochs == RunConfig().train.epochs  # nobody says anything
    assert trial_config(spec, {}).train.learning_rate == 0.3


def test_what_run_says_counts_even_where_it_repeats_the_default() -> None:
    default = RunConfig().train.weight_decay
    assert trial_config(a_spec({}, model={"name": "roberta"}), {}).train.weight_decay != default
    spec = a_spec({}, model={"name": "roberta"}, train={"weight_decay": default})
    assert trial_config(spec, {}).train.weight_decay == default


def test_the_sampled_model_brings_its_own_familys_defaults() -> None:
    spec = a_spec({"model.name": ["bert", "gpt2"]})
    for model in ("bert", "gpt2"):
        config = trial_config(spec, {"model.name": model})
        assert config.model.name == model
        assert config.train.learning_rate == FAMILIES[model].defaults["train.learning_rate"]


def test_an_unknown_family_has_no_defaults() -> None:
    assert trial_config(a_spec({}, model={"name": "somebody/model"}), {}).train == RunConfig().train


def test_values_that_contradict_each_other_are_refused() -> None:
    spec = a_spec({}, train={"schedule": "constant_with_cooldown", "cooldown_ratio": 0.5})
    with pytest.raises(ValidationError, match=r"warmup_ratio \+ cooldown_ratio must not exceed 1"):
        trial_config(spec, {"train.warmup_ratio": 0.6})


def test_adapters_and_frozen_parts_are_searched_by_address() -> None:
    space = {
        "lora.rank": [0, 8, 16],
        "lora.alpha": {"low": 4.0, "high": 64.0},
        "lora.dropout": [0.0, 0.1],
        "train.frozen_layers": {"low": 0, "high": 3},
        "train.freeze_embeddings": [False, True],
        "train.layer_decay": {"low": 0.7, "high": 1.0},
        "train.gradient_checkpointing": [False, True],
    }
    spec = a_spec(space)
    assert space_problems(spec) == []
    for values, _ in proposals(spec, 20):
        config = trial_config(spec, values)
        assert (config.lora.rank, config.train.frozen_layers) == (values["lora.rank"], values["train.frozen_layers"])
        assert config.train.freeze_embeddings is values["train.freeze_embeddings"]
    default = default_trials(spec)[0]
    assert (default["lora.rank"], default["train.frozen_layers"], default["train.layer_decay"]) == (0, 0, 1.0)
    assert [address for address, _ in space_problems(a_spec({"train.freeze_embeddings": {"low": 0, "high": 1}}))] == [
        "space.train.freeze_embeddings"
    ] * 2


def test_what_is_most_demanding_is_what_a_model_is_checked_with() -> None:
    spec = a_spec(
        {
            "model.name": ["bert", "albert"],
            "tokens.max_length": [64, 256, 128],
            "lora.rank": [8, 0],
            "train.frozen_layers": {"low": 0, "high": 6, "per_model": {"albert": [0]}},
            "train.layer_decay": {"low": 0.7, "high": 1.0},
            "train.freeze_embeddings": [False, True],
        }
    )
    bert, albert = (most_demanding(spec, model) for model in ("bert", "albert"))
    assert (bert.model.name, bert.tokens.max_length, bert.lora.rank) == ("bert", 256, 8)
    assert (bert.train.frozen_layers, albert.train.frozen_layers) == (6, 0)
    assert (bert.train.layer_decay, bert.train.freeze_embeddings) == (0.7, True)
    assert not bert.train.gradient_checkpointing
