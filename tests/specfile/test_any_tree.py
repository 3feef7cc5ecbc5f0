"""Whatever stands in a file, it is a study or a list of faults."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import specfile
from hpo.spec import Budget, StudySpec
from hpo.specfile import read_spec
from pipelines.config import flatten
from pipelines.errors import ConfigError

from .written import spec_of

_KEYS = sorted({part for address in flatten(StudySpec(name="x").model_dump()) for part in address.split(".")})
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**10) | st.floats() | st.sampled_from(["", "16", "tpe", "accuracy"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_KEYS, "low", "high", "choices", "per_model"]) | st.integers(0, 2), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*StudySpec.model_fields, "sapce"]), _VALUES, max_size=5))
def test_any_tree_is_a_spec_or_a_list_of_faults(tree: dict[str, Any]) -> None:
    problems: list[specfile.Problem] = []
    spec = specfile._checked(tree, problems)
    assert problems or spec is not None
    assert all(address and message and "\n" not in message for address, message in problems)


@pytest.mark.parametrize(("asked", "planned"), [(20, 6), (4, 4)])
def test_a_grid_is_over_when_each_point_was_tried(tmp_path: Path, asked: int, planned: int) -> None:
    space = "space: {train.batch_size: [8, 16, 32], train.schedule: [linear, cosine]}"
    spec = spec_of(tmp_path, f"{space}\nsampler: grid\nbudget: {{trials: {asked}}}\n")
    assert spec.budget.trials == planned


def test_more_trials_are_asked_for_with_a_plus() -> None:
    assert read_spec("quickstart", ["budget.trials=+20"]).budget.more == 20
    assert read_spec("quickstart", ["budget.trials=20"]).budget == Budget(trials=20)
    with pytest.raises(ConfigError, match=r"budget.more: .* not text 'x'|budget.more: "):
        read_spec("quickstart", ["budget.trials=+x"])


def test_contradictions_of_the_schedule_are_named() -> None:
    assert faults_of("schedule=halving", "pruner=median") == (
        "  pruner: successive halving needs none; leave it out, or set schedule: full"
    )
    assert faults_of("schedule=halving", "objective=[accuracy, latency_ms]") == (
        "  schedule: several objectives give no order to halve by; set schedule: full"
    )
    assert faults_of("objective=latency_ms") == (
        "  schedule.score: latency_ms is known at a trial's end only; set schedule.score: log_loss"
    )
    assert faults_of("schedule=straight").startswith("  schedule.name: should be 'halving' or 'full'")


def test_an_unknown_terminator_is_answered_with_those_there_are() -> None:
    assert faults_of("budget.converged=regret_bounds") == (
        "  terminator.name: Optuna has no terminator 'regret_bounds'; did you mean regretbound?; there are: "
        "bestvaluestagnation, emmr, regretbound"
    )
    assert "budget.converged.options.x: emmr has no such option" in faults_of(
        "budget.converged={name: emmr, options: {x: 1}}"
    )


def faults_of(*overrides: str) -> str:
    """What is said of the quickstart study with these overrides, without the first line."""
    with pytest.raises(ConfigError) as caught:
        read_spec("quickstart", overrides)
    return str(caught.value).partition("\n")[2]
