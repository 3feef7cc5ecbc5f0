"""A study that learns from earlier ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.ledger import Ledger
from hpo.listing import studies
from hpo.listing import trials as rows
from hpo.places import Places
from hpo.spec import StudySpec
from hpo.storage import IMPORTED, definition, open_study, own_trials
from hpo.successor import Lesson, learn, lessons
from pipelines.errors import ConfigError
from tests.stub import a_spec

RATE = "train.learning_rate"
Begin = Callable[..., optuna.Study]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path, tracking="sqlite:///nowhere.db", storage=f"sqlite:///{tmp_path}/studies.db")


@pytest.fixture
def begin(places: Places) -> Begin:
    """Open a study, and finish a trial for each (learning rate, accuracy); None for one that stopped early at 0.5."""

    def begun(spec: StudySpec, *trials: tuple[float, float | None], digest: str = "digest") -> optuna.Study:
        study = open_study(spec.model_copy(update={"start_with_defaults": False}), places=places)
        Ledger(places.storage).open_study(spec.name, definition(spec, data_digest=digest), spec=spec.model_dump_json())
        for rate, accuracy in trials:
            study.enqueue_trial({RATE: rate})
            trial = study.ask({RATE: optuna.distributions.FloatDistribution(1e-6, 1e-2, log=True)})
            trial.report(0.5, 100)
            study.tell(trial, accuracy, state=TrialState.PRUNED if accuracy is None else None)
        return study

    return begun


def a_successor(**changes: Any) -> StudySpec:
    return a_spec(**{"name": "next", "learn_from": ["toy"]} | changes)


def of(spec: StudySpec, places: Places, *, digest: str = "digest") -> Lesson:
    """The one lesson that there is."""
    (lesson,) = lessons(spec, data_digest=digest, places=places)
    return lesson


def imported(study: optuna.Study) -> dict[str, float]:
    """Learning rates by origin."""
    every = study.get_trials(deepcopy=False)
    return {one.user_attrs[IMPORTED]: one.params[RATE] for one in every if IMPORTED in one.user_attrs}


def test_trials_teach_a_study_with_a_wider_range(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8), (1e-3, None))
    wider = a_successor(space={RATE: {"low": 1e-7, "high": 1e-1, "log": True}})
    study = begin(wider)
    (lesson,) = learn(study, wider, data_digest="digest", places=places)
    assert lesson.in_words() == "toy: 2 of its 2 trials can be compared, and teach the sampler"
    assert imported(study) == {"toy/0": 1e-4, "toy/1": 1e-3}
    first, second = study.trials
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.8)
    assert (second.state, second.intermediate_values) == (TrialState.PRUNED, {100: 0.5})
    assert first.distributions[RATE] == optuna.distributions.FloatDistribution(1e-7, 1e-1, log=True)


def test_trials_outside_of_a_narrower_range_are_left_out(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8), (9e-3, 0.9))
    narrower = a_successor(space={RATE: {"low": 1e-5, "high": 1e-3, "log": True}})
    assert of(narrower, places).in_words() == "toy: 1 of its 2 trials can be compared, and teach the sampler"


def test_a_model_is_added_to_the_list(begin: Begin, places: Places) -> None:
    begin(a_spec(run={"model": {"name": "minilm"}}), (1e-4, 0.8))
    space = {"model.name": ["minilm", "bert"], RATE: {"low": 1e-6, "high": 1e-2, "log": True}}
    more = a_successor(space=space, run={"model": {"name": "minilm"}})
    ((_, proposal),) = of(more, places).comparable
    assert {name: value for name, (value, _) in proposal.items()} == {"model.name": "minilm", RATE: 1e-4}


def test_a_range_of_the_models_own_takes_over_its_trials(begin: Begin, places: Places) -> None:
    begin(a_spec(run={"model": {"name": "minilm"}}), (1e-4, 0.8))
    own = {"low": 1e-6, "high": 1e-2, "log": True, "per_model": {"minilm": {"low": 1e-5, "high": 1e-3, "log": True}}}
    more = a_successor(space={"model.name": ["minilm", "bert"], RATE: own}, run={"model": {"name": "minilm"}})
    ((_, proposal),) = of(more, places).comparable
    assert proposal[f"{RATE}[minilm]"][0] == 1e-4


@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "other data"),
        ({"objective": "macro_f1"}, "digest"),
        ({"objective": {"metric": "accuracy", "direction": "minimize"}}, "digest"),
        ({"run": {"train": {"epochs": 3.0}}}, "digest"),
    ],
)
def test_where_scores_cannot_be_compared_the_best_configurations_are_tried_first(
    begin: Begin, places: Places, changes: dict[str, Any], digest: str
) -> None:
    begin(a_spec(), (1e-4, 0.8), (2e-4, 0.7), (3e-4, 0.9), (4e-4, 0.6), (5e-4, None))
    spec = a_successor(**changes)
    study = begin(spec)
    (lesson,) = learn(study, spec, data_digest=digest, places=places)
    assert lesson.in_words() == "toy: its scores cannot be compared with this study's; 3 of its best are tried first"
    assert [trial.system_attrs["fixed_params"] for trial in study.trials] == [{RATE: 3e-4}, {RATE: 1e-4}, {RATE: 2e-4}]
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}


def test_settings_that_do_not_change_what_is_learned_may_differ(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8))
    train = {"epochs": 2.0, "batch_size": 16, "evaluations": 2, "checkpoint_seconds": 5.0}
    assert len(of(a_successor(run={"seed": 7, "train": train}), places).comparable) == 1


def test_configurations_are_moved_into_the_range_and_foreign_models_left_out(begin: Begin, places: Places) -> None:
    begin(a_spec(run={"model": {"name": "minilm"}}), (9e-3, 0.8))
    narrower = {RATE: {"low": 1e-5, "high": 1e-3, "log": True}}
    assert of(a_successor(space=narrower, run={"model": {"name": "minilm"}}), places).best == [{RATE: 1e-3}]
    bert = a_successor(space=narrower, run={"model": {"name": "bert"}})
    assert of(bert, places).in_words() == "toy: nothing: no trial of it that could be one of this study's"


def test_what_a_crash_interrupted_is_not_taken_over_twice(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8), (2e-4, 0.7))
    study = begin(a_successor())
    for _ in range(2):
        learn(study, a_successor(), data_digest="digest", places=places)
    assert len(study.trials) == 2


def test_a_study_that_has_begun_learns_no_more(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8))
    study = begin(a_successor(), (1e-4, 0.8))
    assert learn(study, a_successor(), data_digest="digest", places=places) == []
    assert imported(study) == {}


def test_imported_trials_are_neither_counted_nor_listed(begin: Begin, places: Places) -> None:
    begin(a_spec(), (1e-4, 0.8))
    study = begin(a_successor())
    learn(study, a_successor(), data_digest="digest", places=places)
    assert own_trials(study) == []
    assert rows(places, "next") == []
    row = studies(places)[1]
    assert (row["finished"], row["best"], row["learns_from"]) == (0, None, ["toy"])


def test_a_study_cannot_learn_from_itself_or_from_one_that_is_not_there(begin: Begin, places: Places) -> None:
    begin(a_spec())
    with pytest.raises(ConfigError, match=r"study 'toy' cannot learn from itself; give this one a name of its own"):
        lessons(a_spec(learn_from=["toy"]), data_digest="digest", places=places)
    with pytest.raises(ConfigError, match=r"there is no study 'to'; did you mean toy\?"):
        lessons(a_successor(learn_from=["to"]), data_digest="digest", places=places)
