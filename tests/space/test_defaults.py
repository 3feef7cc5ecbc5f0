"""The known-good defaults are the first trials; what may not be searched; grids."""

from typing import Any

import optuna
import pytest

from hpo.space import SEARCHABLE, address_of, default_trials, grid_of, space_problems, suggest
from pipelines.errors import ConfigError

from .spaces import _TWO_MODELS, a_spec


def test_the_first_trials_are_the_known_good_defaults_of_each_model() -> None:
    bert, gpt2 = default_trials(a_spec(_TWO_MODELS))
    assert bert == {"model.name": "bert", "train.learning_rate": 3e-5, "train.batch_size[bert]": 32}
    assert gpt2 == {"model.name": "gpt2", "train.learning_rate[gpt2]": 1e-3, "train.batch_size": 16}, "moved inside"


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        ({"low": 1e-3, "high": 1e-2}, 1e-3),
        ({"low": 1e-7, "high": 1e-6, "log": True}, 1e-6),
        ({"low": 0.0, "high": 1.0, "step": 0.5}, 0.0),
        ({"low": 1e-5, "high": 1e-3}, 1e-4),
        ([1e-5, 1e-4], 1e-4),
        ([1e-5, 2e-4, 3e-4], 1e-5),
        ([3e-4, 2e-4], 2e-4),
    ],
)
def test_a_default_outside_its_range_moves_to_the_nearest_value(dimension: Any, expected: float) -> None:
    (trial,) = default_trials(a_spec({"train.learning_rate": dimension}))  # minilm: 1e-4
    assert trial == {"train.learning_rate": pytest.approx(expected)}


def test_a_default_that_is_no_number_finds_its_place() -> None:
    spec = a_spec(
        {
            "train.micro_batch_size": {"low": 4, "high": 8},  # all at once by default
            "model.dropout": [0.2, None],
            "train.schedule": ["cosine", "constant_with_cooldown"],
        }
    )
    assert default_trials(spec) == [
        {"train.micro_batch_size": 4, "model.dropout": None, "train.schedule": "cosine"},
    ]


def test_the_default_trials_can_be_enqueued_and_are_what_suggest_returns() -> None:
    spec = a_spec(_TWO_MODELS)
    study = optuna.create_study()
    for parameters in default_trials(spec):
        study.enqueue_trial(parameters)
    found = [suggest(study.ask(), spec) for _ in range(2)]
    expected = [{address_of(name): value for name, value in one.items()} for one in default_trials(spec)]
    assert found == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("seed", "the seed is never a hyperparameter: searching it rewards luck"),
        ("data.source", "this setting is the same for all trials of a study; set it under run"),
        ("data.fractions.test", "this setting is the same for all trials of a study; set it under run"),
        ("data.split_seed", "this setting is the same for all trials of a study; set it under run"),
        ("model.revision", "this setting is the same for all trials of a study; set it under run"),
        ("train.evaluations", "this setting is the same for all trials of a study; set it under run"),
        ("train.early_stopping", "this setting is the same for all trials of a study; set it under run"),
        ("train.checkpoint_seconds", "this setting is the same for all trials of a study; set it under run"),
        ("train.learning_rat", "no such setting; did you mean train.learning_rate?"),
        ("budget.trials", "no such setting"),
    ],
)
def test_what_a_trial_may_not_vary_is_refused(address: str, message: str) -> None:
    assert space_problems(a_spec({address: [1, 2]})) == [(f"space.{address}", message)]


def test_nothing_of_the_data_and_no_seed_is_searchable() -> None:
    assert [address for address in SEARCHABLE if address.startswith("data.") or "seed" in address] == []
    assert {"train.learning_rate", "model.name", "tokens.max_length"} <= set(SEARCHABLE)


def test_every_refused_choice_is_reported() -> None:
    problems = space_problems(a_spec({"train.batch_size": [0, 8, 1.5, "16"], "train.beta1": [1.0]}))
    assert problems == [
        ("space.train.batch_size", "0: input should be greater than or equal to 1"),
        ("space.train.batch_size", "1.5: input should be a valid integer"),
        ("space.train.batch_size", "'16': input should be a valid integer"),
        ("space.train.beta1", "1.0: input should be less than 1"),
    ]


def test_a_grid_has_every_value_of_every_dimension() -> None:
    grid = grid_of(
        a_spec(
            {
                "train.batch_size": {"low": 8, "high": 20, "step": 4},
                "train.weight_decay": {"low": 0.0, "high": 0.3, "step": 0.1},
                "train.schedule": ["linear", "cosine"],
            }
        )
    )
    assert grid["train.batch_size"] == [8, 12, 16, 20]
    assert {type(value) for value in grid["train.batch_size"]} == {int}
    assert grid["train.weight_decay"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert grid["train.schedule"] == ["linear", "cosine"]


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"low": 0.0, "high": 1.0}, "space.train.weight_decay: a grid needs a list of choices, or low, high and step"),
        (
            {"choices": [0.1], "per_model": {"minilm": [0.2]}},
            "space.train.weight_decay: a grid cannot have ranges per model; use the brute_force sampler",
        ),
    ],
)
def test_a_range_without_steps_is_no_grid(dimension: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        grid_of(a_spec({"train.weight_decay": dimension}))
    assert str(caught.value) == message
