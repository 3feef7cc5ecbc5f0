"""Spaces, and what is proposed of them."""

from typing import Any

from hpo.spec import StudySpec

_TWO_MODELS = {
    "model.name": ["bert", "gpt2"],
    "train.learning_rate": {
        "low": 1e-5,
        "high": 1e-4,
        "log": True,
        "per_model": {"gpt2": {"low": 1e-3, "high": 1e-2, "log": True}},
    },
    "train.batch_size": {"choices": [8, 16], "per_model": {"bert": {"low": 32, "high": 64}}},
}


def a_spec(space: dict[str, Any], **run: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "a", "space": space, "run": run})
