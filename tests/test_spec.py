from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from hpo.spec import StudySpec
from pipelines.config import Frozen


def described(schema: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Every field of every model in a JSON schema, with its description."""
    for name, model in {"StudySpec": schema, **schema["$defs"]}.items():
        for field, content in model.get("properties", {}).items():
            reference = content.get("$ref", "").rpartition("/")[2]  # a description equal to the model's own is left out
            yield f"{name}.{field}", content.get("description") or schema["$defs"].get(reference, {}).get("description")


def test_every_field_of_the_whole_tree_is_described() -> None:
    found = dict(described(StudySpec.model_json_schema()))
    assert [field for field, text in found.items() if not text] == []
    models = Frozen.__subclasses__()
    assert [
        (model, name) for model in models for name, field in model.model_fields.items() if not field.description
    ] == []
    sections = {field.partition(".")[0] for field in found}
    assert sections == {
        *("StudySpec", "Objective", "Budget", "Component", "Dimension", "Workers", "Scheduling"),
        *("Calibration", "Confirmation", "Promotion", "Screening", "RunConfig", "DataConfig", "Fractions"),
        *("TokensConfig", "ModelConfig", "TrainConfig", "LoraConfig", "ScratchConfig"),
    }
    assert len(found) > 60


def test_every_model_of_the_tree_refuses_unknown_keys() -> None:
    schema = StudySpec.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    assert [model["title"] for model in models if model.get("additionalProperties") is not False] == []


def test_a_spec_cannot_be_changed() -> None:
    spec = StudySpec(name="a")
    with pytest.raises(ValidationError):
        spec.seed = 3
    with pytest.raises(ValidationError):
        spec.budget.trials = 3


def test_words_and_lists_stand_for_the_long_forms() -> None:
    brief = StudySpec.model_validate(
        {"name": "a", "objective": "macro_f1", "sampler": "gp", "pruner": "nop", "space": {"train.batch_size": [8, 16]}}
    )
    whole = StudySpec.model_validate(
        {
            "name": "a",
            "objective": [{"metric": "macro_f1"}],
            "sampler": {"name": "gp", "options": {}},
            "pruner": {"name": "nop"},
            "space": {"train.batch_size": {"choices": [8, 16]}},
        }
    )
    assert brief == whole


def test_a_spec_survives_being_written_as_json() -> None:
    spec = StudySpec.model_validate(
        {
            "name": "a",
            "objective": ["accuracy", {"metric": "latency_ms", "direction": "minimize"}],
            "budget": {"trials": 3, "minutes": 5},
            "space": {
                "model.name": ["bert", "gpt2"],
                "train.learning_rate": {"low": 1e-6, "high": 1e-3, "log": True, "per_model": {"gpt2": [1e-4]}},
            },
        }
    )
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_models_are_the_choices_or_else_the_only_one() -> None:
    assert StudySpec.model_validate({"name": "a", "space": {"model.name": ["bert", "gpt2"]}}).models == ["bert", "gpt2"]
    assert StudySpec.model_validate({"name": "a", "run": {"model": {"name": "bert"}}}).models == ["bert"]


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ([], "the list of choices is empty"),
        ([8, 16, 8], "a choice stands twice"),
        ({"choices": [8], "low": 1}, "give either choices or low and high, not both"),
        ({"low": 1}, "give a list of choices, or low and high"),
        ({"log": True}, "give a list of choices, or low and high"),
        ({"low": 2, "high": 1}, "low 2 is above high 1"),
        ({"low": 0, "high": 1, "log": True}, "a logarithmic range must start above 0, not at 0"),
        ({"low": -1, "high": 1, "log": True}, "a logarithmic range must start above 0, not at -1"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "log and step exclude each other"),
        ({"low": float("nan"), "high": 1}, "Input should be a finite number"),
        ({"low": 0, "high": float("inf")}, "Input should be a finite number"),
        ({"low": 0, "high": 1, "step": 0}, "Input should be greater than 0"),
    ],
)
def test_a_dimension_is_one_sound_thing(dimension: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate({"name": "a", "space": {"train.dropout": dimension}})
    assert caught.value.errors()[0]["msg"].removeprefix("Value error, ") == message


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "7", "x" * 80])
def test_a_name_may_have_letters_digits_and_three_marks(name: str) -> None:
    assert StudySpec(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "x" * 81, "../x", "a/b", "a\n", "a b", "ä", "\N{GRINNING FACE}", ".a", "-a", "a'b"]
)
@pytest.mark.parametrize("field", ["name", "register_as"])
def test_other_names_are_refused(field: str, name: str) -> None:
    with pytest.raises(ValidationError, match="String should match pattern"):
        StudySpec.model_validate({"name": "a"} | {field: name})


@pytest.mark.parametrize("value", [1.5, "7", True, -1, 2**31, None])
def test_a_seed_is_a_whole_number_from_0(value: Any) -> None:
    with pytest.raises(ValidationError):
        StudySpec.model_validate({"name": "a", "seed": value})
    assert StudySpec.model_validate({"name": "a", "seed": 2**31 - 1}).seed == 2**31 - 1


@pytest.mark.parametrize("trials", [0, -1, 10**9, 1.5, "8"])
def test_a_budget_has_at_least_one_trial_and_not_a_billion(trials: Any) -> None:
    with pytest.raises(ValidationError):
        StudySpec.model_validate({"name": "a", "budget": {"trials": trials}})
