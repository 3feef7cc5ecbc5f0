"""Optuna's storage: open a study, guard what it is, find its best trial."""

from collections.abc import Iterable
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.components import new_pruner, new_sampler
from hpo.ledger import created, engine_options, storage_errors
from hpo.objectives import directions
from hpo.places import Places
from hpo.scheduling import begins_with_defaults, pruner_of, scheduling
from hpo.space import default_trials
from hpo.spec import StudySpec
from pipelines.config import flatten
from pipelines.errors import ConfigError

IMPORTED = "imported_from"
"""A trial's attribute: where it was trained. Such a trial teaches the sampler, and is not counted."""


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Connect to Optuna's tables, which are created when absent. Raises `StorageError` when the database refuses."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(url):
        return created(lambda: optuna.storages.RDBStorage(url, engine_kwargs=engine_options(url)))


def open_study(spec: StudySpec, *, places: Places) -> optuna.Study:
    """Create or load the study in Optuna's storage. A new one starts with the models' known-good defaults."""
    storage = open_storage(places.storage)
    study = optuna.create_study(
        study_name=spec.name,
        storage=storage,
        directions=directions(spec),
        sampler=new_sampler(spec, trial=0),
        pruner=new_pruner(pruner_of(spec)),
        load_if_exists=True,
    )
    if begins_with_defaults(spec):
        for parameters in default_trials(spec)[: spec.budget.trials]:
            study.enqueue_trial(parameters, skip_if_exists=True)
    return study


def engine_of(study: optuna.Study) -> sa.Engine:
    """The connections that this study's storage writes through."""
    engine: sa.Engine = study._storage._backend.engine  # type: ignore[attr-defined]
    return engine


def load_study(name: str, *, places: Places) -> optuna.Study:
    """A study that exists. Raises `KeyError` for one that does not."""
    return optuna.load_study(study_name=name, storage=open_storage(places.storage))


def definition(spec: StudySpec, *, data_digest: str) -> dict[str, Any]:
    """What may not change while a study lives, by address: its trials would no longer be comparable."""
    fixed = spec.model_dump(include={"objective", "run", "space", "seed", "sampler"})
    return flatten(fixed | {"schedule": scheduling(spec).model_dump(), "data_digest": data_digest})


def refuse_changes(name: str, first: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Raise `ConfigError` with every difference between a study's first definition (None: a new study) and today's."""
    if first is None:
        return
    changed = [key for key in sorted(first.keys() | now.keys()) if first.get(key) != now.get(key)]
    if changed:
        lines = "\n".join(f"  {key}: was {first.get(key)!r}, is {now.get(key)!r}" for key in changed)
        raise ConfigError(
            f"study {name!r} exists with another definition; its trials could not be compared. Give this one a "
            f"name of its own (name=...; with --from {name} it learns from what is there), or undo:\n{lines}"
        )


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The COMPLETE trial with the best first objective; the earlier one of equals. None where there is none.

    Trials that were imported from another study are left out: their models are not here.
    """
    return best_of(study, own_trials(study))


def finished_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials of this study that will not train again."""
    return [trial for trial in own_trials(study) if trial.state.is_finished()]


def own_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials of this study, proposals that wait among them, without those that were imported."""
    return [trial for trial in study.get_trials(deepcopy=False) if IMPORTED not in trial.user_attrs]


def best_of(study: optuna.Study, trials: Iterable[optuna.trial.FrozenTrial]) -> optuna.trial.FrozenTrial | None:
    """The same, of these trials alone."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1.0
    return min(complete, key=lambda trial: (sign * trial.values[0], trial.number), default=None)
