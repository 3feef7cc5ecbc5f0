import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo import components
from hpo.components import PRUNERS, SAMPLERS, canonical, new_pruner, new_sampler
from hpo.space import suggest
from hpo.spec import Component, StudySpec
from pipelines.errors import ConfigError

ROOT = Path(__file__).parents[1]
TINY = {"train.batch_size": [8, 16], "train.weight_decay": {"low": 0.0, "high": 0.4, "step": 0.2}}


def a_spec(sampler: Any = "tpe", space: dict[str, Any] = TINY, **more: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "a", "sampler": sampler, "space": space} | more)


def searched(spec: StudySpec, trials: int, storage: str | None = None) -> list[dict[str, Any]]:
    """What a study proposes next when the sampler is made anew for each trial, as the controller does."""
    study = optuna.create_study(study_name="a", storage=storage, direction="maximize", load_if_exists=True)
    found = []
    for _ in range(trials):
        number = len(study.trials)
        study.sampler = new_sampler(spec, trial=number)
        trial = study.ask()
        found.append(suggest(trial, spec))
        study.tell(trial, float(number))
    return found


def test_all_of_optunas_samplers_and_pruners_are_there() -> None:
    assert set(SAMPLERS) == {"tpe", "gp", "cmaes", "random", "grid", "bruteforce", "qmc", "nsgaii", "nsgaiii"}
    names = {"hyperband", "median", "nop", "patient", "percentile", "successivehalving", "threshold", "wilcoxon"}
    assert set(PRUNERS) == names


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_searches_by_name(name: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = searched(a_spec({"name": name, "options": {}}), 3 if name == "gp" else 6)
    assert all(values["train.batch_size"] in {8, 16} for values in found)
    assert all(round(values["train.weight_decay"], 6) in {0.0, 0.2, 0.4} for values in found)
    if name in {"grid", "bruteforce"}:
        assert len({tuple(values.values()) for values in found}) == 6, "each point once"
    else:
        assert len({tuple(values.values()) for values in found}) > 1


def test_a_gaussian_process_takes_over_after_its_first_trials() -> None:
    found = searched(a_spec({"name": "gp", "options": {"n_startup_trials": 2}}), 3)
    assert len(found) == 3


def test_a_sampler_whose_package_is_missing_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        new_sampler(a_spec("cmaes"), trial=0)
    assert str(caught.value) == "sampler.name: cmaes needs a package that is not installed; pip install cmaes"


_OPTIONS: dict[str, dict[str, Any]] = {
    "patient": {"wrapped_pruner": "median", "patience": 1},
    "percentile": {"percentile": 25.0},
    "threshold": {"lower": 0.1},
}


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_every_pruner_judges_by_name(name: str) -> None:
    pruner = new_pruner(Component(name=name, options=_OPTIONS.get(name, {})))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="maximize", sampler=new_sampler(a_spec("random"), trial=0), pruner=pruner)
    judged = []
    for number in range(6):
        trial = study.ask()
        for step in (16, 32, 48):
            trial.report((10 - number) * step / 1000, step)
            judged.append(trial.should_prune())
        study.tell(trial, 1.0)
    assert set(judged) <= {True, False}
    assert any(judged) == (name in {"median", "percentile", "threshold", "successivehalving", "hyperband"})


def test_the_pruner_inside_another_is_named_too() -> None:
    pruner = new_pruner(Component(name="patient", options={"wrapped_pruner": "median", "patience": 1}))
    assert isinstance(pruner, optuna.pruners.PatientPruner)
    assert isinstance(pruner._wrapped_pruner, optuna.pruners.MedianPruner)


@pytest.mark.parametrize("name", ["TPE", "tpe", "TPESampler", "tpe_sampler"])
def test_a_sampler_is_known_by_its_class_name_too(name: str) -> None:
    assert isinstance(new_sampler(a_spec(name), trial=0), optuna.samplers.TPESampler)


def test_spelling_does_not_matter_to_names() -> None:
    assert canonical("brute_force") == canonical("BruteForceSampler") == canonical("Brute-Force") == "bruteforce"
    assert canonical("SuccessiveHalvingPruner") == canonical("successive_halving") == "successivehalving"


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            "tp",
            "sampler.name: Optuna has no sampler 'tp'; did you mean tpe?; there are: bruteforce, cmaes, gp, grid, "
            "nsgaii, nsgaiii, qmc, random, tpe",
        ),
        (
            {"name": "random", "options": {"sed": 3}},
            "sampler.options.sed: random has no such option; did you mean seed?; it has: seed",
        ),
        (
            {"name": "nsgaii", "options": {"population_size": 1}},
            "sampler.options: nsgaii refuses them: `population_size` must be greater than or equal to 2.",
        ),
    ],
)
def test_an_unknown_sampler_or_option_is_answered_with_a_suggestion(sampler: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        new_sampler(a_spec(sampler), trial=0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        (
            Component(name="medain"),
            "pruner.name: Optuna has no pruner 'medain'; did you mean median?; there are: hyperband, median, nop, "
            "patient, percentile, successivehalving, threshold, wilcoxon",
        ),
        (
            Component(name="median", options={"warmup": 1}),
            "pruner.options.warmup: median has no such option; did you mean n_warmup_steps?; it has: n_startup_trials, "
            "n_warmup_steps, interval_steps, n_min_trials",
        ),
        (
            Component(name="percentile", options={"percentile": 200.0}),
            "pruner.options: percentile refuses them: Percentile must be between 0 and 100 inclusive, but got "
            "percentile=200.0.",
        ),
    ],
)
def test_an_unknown_pruner_or_option_is_answered_with_a_suggestion(pruner: Component, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        new_pruner(pruner)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_study_continued_by_another_process_proposes_what_the_uninterrupted_one_would_have(
    tmp_path: Path, name: str
) -> None:
    spec = a_spec({"name": name, "options": {"n_startup_trials": 3} if name == "tpe" else {}}, seed=7)
    url = f"sqlite:///{tmp_path}/a.db"
    found = searched(spec, 4, storage=url)
    code = (
        "import sys, json; from hpo.spec import StudySpec; from tests.test_components import searched; "
        "print(json.dumps(searched(StudySpec.model_validate_json(sys.argv[1]), 2, storage=sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, spec.model_dump_json(), url]
    continued = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert found + json.loads(continued.stdout) == searched(spec, 6)


def test_another_seed_or_trial_draws_something_else() -> None:
    ranged = {"train.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}}
    found = [searched(a_spec("random", ranged, seed=seed), 3) for seed in (0, 1)]
    values = [values["train.learning_rate"] for trials in found for values in trials]
    assert len(set(values)) == 6


def test_a_seed_among_the_options_is_the_users_own() -> None:
    ranged = {"train.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}}
    first, second = searched(a_spec({"name": "random", "options": {"seed": 5}}, ranged), 2)
    assert first == second
