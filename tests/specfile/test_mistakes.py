"""Every mistake in a study's file is one message with its address."""

from pathlib import Path
from typing import Any

import pytest

from hpo import studies
from hpo.components import PRUNERS, SAMPLERS
from hpo.objectives import names
from hpo.spec import StudySpec
from hpo.specfile import read_spec, shipped_studies
from hpo.yamlfile import load_yaml
from pipelines.errors import ConfigError

from .written import Refusal, spec_of


def test_every_shipped_study_is_sound() -> None:
    files = sorted(Path(studies.__file__).parent.glob("**/*.yaml"))
    checked = []
    for path in files:
        spec = read_spec(path.stem)
        assert spec.name == path.stem
        assert spec.description
        assert f"hpo run {path.stem}" in path.read_text(), "its launch line"
        checked.append(path.stem)
    assert len(checked) == len(files) == len(shipped_studies())
    assert set(checked) == set(shipped_studies())
    assert "quickstart" in checked


def test_the_json_schema_accepts_the_shipped_studies() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = StudySpec.model_json_schema()
    for path in shipped_studies().values():
        jsonschema.validate(load_yaml(path), schema)


def test_five_different_mistakes_give_five_messages_and_leave_nothing_behind(refusal: Refusal) -> None:
    text = """
        objectiv: accuracy
        budget: {trials: 0}
        sampler: {name: tpe, options: {n_startup_trial: 4}}
        run: {train: {batch_size: "16"}}
        space: {train.learning_rat: {low: 1e-5, high: 1e-3}}
    """
    known = "it has: consider_prior, prior_weight"
    faults = refusal(text)
    assert [fault.partition(known)[0] for fault in faults] == [
        "budget.trials: should be greater than or equal to 1, not 0",
        "run.train.batch_size: should be a valid integer, not text '16'",
        "objectiv: no such key; did you mean objective?",
        "space.train.learning_rat: no such setting; did you mean train.learning_rate?",
        "sampler.options.n_startup_trial: tpe has no such option; did you mean n_startup_trials?; ",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        # C01: an unknown key, at every depth, and one that stands elsewhere
        ("budgets: {trials: 3}", "budgets: no such key; did you mean budget?"),
        ("budget: {trails: 3}", "budget.trails: no such key; did you mean trials?"),
        ("run: {train: {learning_rat: 3}}", "run.train.learning_rat: no such key; did you mean learning_rate?"),
        ("learning_rate: 3", "learning_rate: no such key; did you mean run.train.learning_rate?"),
        ("zzz: 3", "zzz: no such key"),
        (
            "space: {model.dropout: {lo: 0.1, high: 0.2}}",
            "space.model.dropout.lo: no such key; did you mean low?",
        ),
        ("space: {model.dropot: [0.1]}", "space.model.dropot: no such setting; did you mean model.dropout?"),
        ("space: {learning_rate: [0.1]}", "space.learning_rate: no such setting; did you mean train.learning_rate?"),
        ("1: 2", "[1]: Keys should be strings, not 1"),
        (
            "promotion: {floors: {acuracy: 0.8}}",
            "promotion.floors.acuracy: a floor is a metric, `class NAME` or `1 to 40 characters`; did you mean "
            "accuracy?",
        ),
        (
            "promotion: {policy: non_inferior_and_cheaper}",
            "promotion: non_inferior_and_cheaper needs a margin: how much worse is still as good",
        ),
        ("promotion: {alpha: 0.7}", "promotion.alpha: should be less than 0.5, not 0.7"),
        # C04: ranges
        ("space: {train.weight_decay: {low: 1, high: 0.1}}", "space.train.weight_decay: low 1 is above high 0.1"),
        (
            "space: {train.learning_rate: {low: 0, high: 1e-3, log: true}}",
            "space.train.learning_rate: a logarithmic range must start above 0, not at 0",
        ),
        (
            "space: {train.learning_rate: {low: -1e-3, high: 1e-3}}",
            "space.train.learning_rate: -0.001: input should be greater than 0",
        ),
        (
            "space: {train.learning_rate: {low: .nan, high: 1e-3}}",
            "space.train.learning_rate.low: should be a valid number, not text '.nan'",
        ),
        (
            "space: {train.learning_rate: {low: 1e-5, high: 1e999}}",
            "space.train.learning_rate.high: should be a finite number, not inf",
        ),
        (
            "space: {train.learning_rate: {low: 1e-5, high: 3}}",
            "space.train.learning_rate: 3.0: input should be less than or equal to 1",
        ),
        (
            "space: {train.batch_size: {low: 8, high: 32, step: 0.5}}",
            "space.train.batch_size: step 0.5: this setting is a whole number, so is its step",
        ),
        ("space: {train.batch_size: 16}", "space.train.batch_size: should hold keys and values, not 16"),
        # C05: choices
        ("space: {train.batch_size: []}", "space.train.batch_size: the list of choices is empty"),
        (
            "space: {train.batch_size: [8, [16]]}",
            "space.train.batch_size.choices[1]: should be a word, a number, true, false or null, not [16]",
        ),
        ("space: {model.name: [bert, bert]}", "space.model.name: a choice stands twice"),
        (
            "space: {train.schedule: [linear, cosin]}",
            "space.train.schedule: 'cosin': input should be 'linear', 'cosine' or 'constant_with_cooldown'",
        ),
        # C06: batch sizes
        ("run: {train: {batch_size: 0}}", "run.train.batch_size: should be greater than or equal to 1, not 0"),
        ("run: {train: {batch_size: 1.5}}", "run.train.batch_size: should be a valid integer, not 1.5"),
        ('run: {train: {batch_size: "16"}}', "run.train.batch_size: should be a valid integer, not text '16'"),
        ("space: {train.batch_size: [0]}", "space.train.batch_size: 0: input should be greater than or equal to 1"),
        ("space: {train.batch_size: [1.5]}", "space.train.batch_size: 1.5: input should be a valid integer"),
        (
            "space: {train.batch_size: {low: 1.5, high: 8}}",
            "space.train.batch_size: 1.5: input should be a valid integer",
        ),
        # C07: trials
        ("budget: {trials: -1}", "budget.trials: should be greater than or equal to 1, not -1"),
        ("budget: {trials: 1000000000}", "budget.trials: should be less than or equal to 100000, not 1000000000"),
        # C08: ratios
        ("run: {train: {warmup_ratio: 1.1}}", "run.train.warmup_ratio: should be less than or equal to 1, not 1.1"),
        (
            "run: {train: {schedule: constant_with_cooldown, warmup_ratio: 0.9}}",
            "run.train: warmup_ratio + cooldown_ratio must not exceed 1",
        ),
        (
            "run: {data: {fractions: {select: 0.5, test: 0.6}}}",
            "run.data.fractions: select + calibrate + test must stay below 1, so that rows remain for training",
        ),
        # C09, C10: objectives
        ("objective: acuracy", "objective[0].metric: 'acuracy' is never measured; did you mean accuracy?"),
        (
            "objective: [accuracy, logloss]",
            "objective[1].metric: 'logloss' is never measured; did you mean log_loss?",
        ),
        (
            "objective: {metric: accuracy, direction: maximise}",
            "objective[0].direction: should be 'maximize' or 'minimize', not text 'maximise'",
        ),
        ("objective: []", "objective: List should have at least 1 item after validation, not 0"),
        # C11: a model directory that is not there
        ("run: {model: {name: ./bert}}", "model.name: ./bert: there is no such directory"),
        ("run: {data: {source: reviews.csv}}", "run.data.source: reviews.csv: there is no such file"),
        ("run: {data: {test: ../test.jsonl}}", "run.data.test: ../test.jsonl: there is no such file"),
        # C17: numbers that YAML 1.1 would misread
        ("run: {train: {learning_rate: 1e-5x}}", "run.train.learning_rate: should be a valid number, not text '1e-5x'"),
        ("seed: 010", "seed: should be a valid integer, not text '010'"),
        ("start_with_defaults: no", "start_with_defaults: should be a valid boolean, not text 'no'"),
        # C20: names
        (
            "name: ../x",
            "name: '../x': a name has letters, digits, '.', '_' and '-', 80 at most, the first a letter or digit",
        ),
        (
            'name: "a\\n"',
            "name: 'a\\n': a name has letters, digits, '.', '_' and '-', 80 at most, the first a letter or digit",
        ),
        ("name: 2024", "name: should be a valid string, not 2024"),
        # C24: a budget in words
        ("budget: 5 minutes", "budget: should hold keys and values, not text '5 minutes'"),
        ("budget: {minutes: 5 minutes}", "budget.minutes: should be a valid number, not text '5 minutes'"),
        ("budget: {minutes: 0}", "budget.minutes: should be greater than 0, not 0"),
        # C25: a seed that is no whole number
        ("seed: 1.5", "seed: should be a valid integer, not 1.5"),
        ("seed: true", "seed: should be a valid integer, not True"),
        ("seed: seven", "seed: should be a valid integer, not text 'seven'"),
        # what a trial may not vary
        ("space: {seed: [1, 2]}", "space.seed: the seed is never a hyperparameter: searching it rewards luck"),
        (
            "space: {data.source: [a, b]}",
            "space.data.source: this setting is the same for all trials of a study; set it under run",
        ),
        # ranges per model
        (
            "space: {train.weight_decay: {low: 0, high: 1, per_model: {mnilm: [0.1]}}}",
            "space.train.weight_decay.per_model.mnilm: no model of this study; did you mean minilm?",
        ),
        (
            "space: {train.weight_decay: {low: 0, high: 1, per_model: {minilm: {low: -1, high: 1}}}}",
            "space.train.weight_decay.per_model.minilm: -1.0: input should be greater than or equal to 0",
        ),
        (
            "space: {train.weight_decay: {low: 0, high: 1, per_model: {minilm: {low: 0, high: 1, "
            "per_model: {minilm: [0.1]}}}}}",
            "space.train.weight_decay.per_model.minilm.per_model: a range of one model cannot be divided again",
        ),
        (
            "space: {model.name: {choices: [minilm, bert], per_model: {minilm: [bert]}}}",
            "space.model.name.per_model: the choice of the model cannot depend on the model",
        ),
        # samplers and pruners
        (
            "sampler: grid\nspace: {train.weight_decay: {low: 0, high: 1}}",
            "space.train.weight_decay: a grid needs a list of choices, or low, high and step",
        ),
        (
            "sampler: grid\nspace: {train.weight_decay: {choices: [0.1], per_model: {minilm: [0.2]}}}",
            "space.train.weight_decay: a grid cannot have ranges per model; use the brute_force sampler",
        ),
        (
            "sampler: {name: nsgaii, options: {population_size: 1}}",
            "sampler.options: nsgaii refuses them: `population_size` must be greater than or equal to 2.",
        ),
        (
            "sampler: {name: random, options: {seed: -5}}\nspace: {train.weight_decay: {low: 0, high: 1}}",
            "sampler.options: random refuses them: Seed must be between 0 and 2**32 - 1",
        ),
        (
            "sampler: {name: tpe, options: {n_startup_trials: many}}\nspace: {train.weight_decay: {low: 0, high: 1}}",
            "sampler, pruner: Optuna refuses their options: '<' not supported between instances of 'int' and 'str'",
        ),
        ("sampler: 3", "sampler: should hold keys and values, not 3"),
        ("sampler: {name: 3}", "sampler.name: should be a valid string, not 3"),
    ],
)
def test_each_mistake_gives_one_message_with_its_address(refusal: Refusal, content: str, fault: str) -> None:
    faults = refusal(content)
    assert faults == [fault]


@pytest.mark.parametrize(
    ("content", "beginning", "kinds"),
    [
        ("sampler: tpee", "sampler.name: Optuna has no sampler 'tpee'; did you mean tpe?; there are: ", SAMPLERS),
        ("pruner: medain", "pruner.name: Optuna has no pruner 'medain'; did you mean median?; there are: ", PRUNERS),
    ],
)
def test_an_unknown_component_is_answered_with_all_there_are(
    refusal: Refusal, content: str, beginning: str, kinds: dict[str, Any]
) -> None:
    assert refusal(content) == [beginning + ", ".join(sorted(kinds))]


def test_a_faulty_key_does_not_hide_the_faults_beside_it(refusal: Refusal) -> None:
    text = """
        objective: [{metric: acuracy}, {metric: accuracy, direction: up}, {metric: 3}]
        run: {train: {epochs: -1, schedule: lin, beta1: 1}, tokens: {max_length: 2}, moddel: {}}
        space: {train.batch_size: [0], train.learning_rate: {low: 2, high: 1}, seed: [1]}
    """
    addresses = [fault.partition(": ")[0] for fault in refusal(text, "budget.trials=none", "workers.count=0")]
    assert sorted(addresses) == sorted(
        [
            *("objective[1].direction", "objective[2].metric", "objective[0].metric"),
            *("run.train.epochs", "run.train.schedule", "run.train.beta1", "run.tokens.max_length", "run.moddel"),
            *("space.train.batch_size", "space.train.learning_rate", "space.seed"),
            *("budget.trials", "workers.count"),
        ]
    )


def test_a_list_of_objectives_has_at_most_five(refusal: Refusal) -> None:
    metrics = ", ".join(names()[:6])
    assert refusal(f"objective: [{metrics}]") == ["objective: List should have at most 5 items after validation, not 6"]


def test_a_description_fits_mlflow(refusal: Refusal) -> None:
    (fault,) = refusal(f"description: {'x' * 5001}")
    assert fault.startswith("description: String should have at most 5000 characters, not text 'xxx")
    assert len(fault) < 200


def test_the_file_names_the_study_that_does_not_name_itself(tmp_path: Path, refusal: Refusal) -> None:
    assert spec_of(tmp_path, "seed: 1").name == "mine"
    assert spec_of(tmp_path, "name: other").name == "other"
    (tmp_path / "my study.yaml").write_text("seed: 1")
    with pytest.raises(ConfigError, match="name: 'my study': a name has letters"):
        read_spec(str(tmp_path / "my study.yaml"))
