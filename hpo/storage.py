"""Optuna's storage: open a study, guard what it is, find its best trial."""

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import StudyModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

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
        return created(lambda: Tables(url, engine_kwargs=engine_options(url)))


class Tables(optuna.storages.RDBStorage):
    """Optuna's tables, but a trial is created in one try.

    Optuna's own tries five times, and where the reply to a commit that stands was lost there are two trials then. Here
    the caller hears of it, and looks for the trial before it asks again.
    """

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        with _create_scoped_session(self.scoped_session) as session:
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            made = self._get_prepared_new_trial(study_id, template_trial, session)
            trial_id = int(made.trial_id)
        return self.get_trial(trial_id)


class SoleWriter(_CachedStorage):
    """Optuna's cache over its tables, for the one process that writes to the trials of a study.

    Optuna's own reads every unfinished trial again whenever somebody asks for trials, since another process may have
    changed it; where thousands rest, each proposal would take seconds. This one reads again what was written to since,
    and what is new: anybody may still enqueue a trial.
    """

    def __init__(self, backend: optuna.storages.RDBStorage) -> None:
        super().__init__(backend)
        self._written: set[int] = set()

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        written = set(self._written)
        if study_id in self._studies:
            self._studies[study_id].unfinished_trial_ids |= written
        super()._read_trials_from_remote_storage(study_id)
        known = self._studies[study_id]
        known.unfinished_trial_ids.clear()
        known.last_finished_trial_id = max((one._trial_id for one in known.trials.values()), default=-1)
        self._written -= written

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """As Optuna's."""
        self._written.add(trial_id)  # first, here and below: the reply to a commit that stands may be lost
        super().set_trial_param(trial_id, name, value, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's."""
        self._written.add(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As Optuna's."""
        self._written.add(trial_id)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._written.add(trial_id)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._written.add(trial_id)
        super().set_trial_system_attr(trial_id, key, value)


def open_study(spec: StudySpec, *, places: Places) -> optuna.Study:
    """Create or load the study in Optuna's storage. A new one starts with the models' known-good defaults.

    Whoever opens it must be the only one who writes to its trials: see `hpo.lease`.
    """
    storage = SoleWriter(open_storage(places.storage))
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
    fixed = spec.model_dump(include={"objective", "run", "space", "screen", "seed", "sampler"}, by_alias=True)
    return flatten(fixed | {"schedule": scheduling(spec).model_dump(), "data_digest": data_digest})


def refuse_changes(name: str, first: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Raise `ConfigError` with every difference between a study's first definition (None: a new study) and today's."""
    if first is None:
        return
    known = flatten(StudySpec(name="any").model_dump(include={"run"}))
    first = {key: value for key, value in known.items() if key in now} | first  # what is new since had its default
    changed = [key for key in sorted(first.keys() | now.keys()) if first.get(key) != now.get(key)]
    if changed:
        lines = "\n".join(f"  {key}: was {first.get(key)!r}, is {now.get(key)!r}" for key in changed)
        raise ConfigError(
            f"study {name!r} exists with another definition; its trials could not be compared. Give this one a "
            f"name of its own (name=...; with --from {name} it learns from what is there), or undo:\n{lines}"
        )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The COMPLETE trial with the best first objective; the earlier one of equals. None where there is none.

    Trials that were imported from another study are left out: their models are not here.
    """
    return best_of(study, own_trials(study))


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials of this study that will not train again."""
    return [trial for trial in own_trials(study) if trial.state.is_finished()]


def own_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials of this study, proposals that wait among them, without those that were imported."""
    return [trial for trial in study.get_trials(deepcopy=False) if IMPORTED not in trial.user_attrs]


def best_of(study: optuna.Study, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The same, of these trials alone."""
    return next(iter(ranked(study, trials)), None)


def ranked(study: optuna.Study, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The COMPLETE ones of these trials by their first objective, the best first; of equals the earlier one."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1.0
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))
