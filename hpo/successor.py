"""What a study learns from earlier ones: their trials where they can be compared, else their best configurations.

A trial can be compared when it was scored on the same rows by the same objectives, and when this study could have
proposed it: all that it does not search is as it was there. Such a trial teaches the sampler; it is not counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.ledger import Ledger
from hpo.listing import spec_of
from hpo.objectives import direction
from hpo.places import Places
from hpo.space import MODEL, address_of, distribution, inside, name_and_dimension, trial_config
from hpo.spec import StudySpec
from hpo.storage import IMPORTED, load_study, own_trials
from pipelines.config import flatten
from pipelines.errors import ConfigError

_TRIED_AGAIN = 3  # of the best configurations of a study whose scores mean something else here
_SAME_RESULT = ("data.", "seed", "train.precision", "train.compile", "train.micro_batch_size",
                "train.gradient_checkpointing", "train.checkpoint_seconds", "train.evaluations")  # fmt: skip
"""Settings that may differ between trials that are compared; the rows themselves have a digest."""


@dataclass(frozen=True)
class Lesson:
    """What a study has to learn from one other."""

    source: StudySpec
    trials: int
    """Trials of the source that say anything: COMPLETE ones, and PRUNED ones that have reported."""
    comparable: list[tuple[FrozenTrial, "_Proposal"]]
    """Those whose scores mean the same here, with what this study would have proposed."""
    best: list[dict[str, Any]]
    """Where none can be compared: parameters of this study like those of the best trials."""

    def in_words(self) -> str:
        """For a person."""
        if self.comparable:
            teach = f"{len(self.comparable)} of its {self.trials} trials can be compared, and teach the sampler"
        elif self.best:
            teach = f"its scores cannot be compared with this study's; {len(self.best)} of its best are tried first"
        else:
            teach = "nothing: no trial of it that could be one of this study's"
        return f"{self.source.name}: {teach}"


def lessons(spec: StudySpec, *, data_digest: str, places: Places) -> list[Lesson]:
    """What there is to learn from the studies that a spec names. Raises `ConfigError` for one that does not exist."""
    sources = learned_from(spec, places=places)
    return [_lesson(source, spec, data_digest=data_digest, places=places) for source in sources]


def learned_from(spec: StudySpec, *, places: Places) -> list[StudySpec]:
    """The specs of the studies that this one learns from. Raises `ConfigError` for one that does not exist."""
    if spec.name in spec.learn_from:
        raise ConfigError(f"study {spec.name!r} cannot learn from itself; give this one a name of its own (name=...)")
    return [spec_of(places, name) for name in spec.learn_from]


def learn(study: optuna.Study, spec: StudySpec, *, data_digest: str, places: Places) -> list[Lesson]:
    """Take over what earlier studies know, before the first trial of this one begins; later, nothing is done.

    What was taken over before a crash is not taken over again. Returns what was learned.
    """
    if any(trial.state != TrialState.WAITING for trial in own_trials(study)):
        return []
    known = {trial.user_attrs.get(IMPORTED) for trial in study.get_trials(deepcopy=False)}
    found = lessons(spec, data_digest=data_digest, places=places)
    for lesson in found:
        for trial, proposal in lesson.comparable:
            if (origin := f"{lesson.source.name}/{trial.number}") not in known:
                study.add_trial(_imported(trial, proposal, origin=origin))
        for parameters in lesson.best:
            study.enqueue_trial(parameters, skip_if_exists=True)
    return found


def _lesson(source: StudySpec, spec: StudySpec, *, data_digest: str, places: Places) -> Lesson:
    trials = [trial for trial in own_trials(load_study(source.name, places=places)) if _tells(trial)]
    comparable = []
    if _scores_mean_the_same(source, spec, data_digest=data_digest, places=places):
        each = ((trial, _proposal(_settings(trial, source), spec)) for trial in trials)
        comparable = [(trial, proposal) for trial, proposal in each if proposal is not None]
    best = [] if comparable else [_like(_settings(trial, source), spec) for trial in _best(trials, source)]
    return Lesson(source, len(trials), comparable, [parameters for parameters in best if parameters])


def _tells(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.PRUNED and bool(trial.intermediate_values))


def _scores_mean_the_same(source: StudySpec, spec: StudySpec, *, data_digest: str, places: Places) -> bool:
    first = Ledger(places.storage).definition(source.name) or {}
    aims = [[(one.metric, direction(one)) for one in each.objective] for each in (source, spec)]
    return first.get("data_digest") == data_digest and aims[0] == aims[1]


def _imported(trial: FrozenTrial, proposal: "_Proposal", *, origin: str) -> FrozenTrial:
    """A trial of another study as one of this."""
    return create_trial(
        state=trial.state,
        values=trial.values if trial.state == TrialState.COMPLETE else None,
        params={name: value for name, (value, _) in proposal.items()},
        distributions={name: allowed for name, (_, allowed) in proposal.items()},
        intermediate_values=trial.intermediate_values,
        user_attrs={IMPORTED: origin},
    )


def _settings(trial: FrozenTrial, source: StudySpec) -> dict[str, Any]:
    """Every setting that a trial was trained with, by address."""
    values = {address_of(name): value for name, value in trial.params.items()}
    return flatten(trial_config(source, values).model_dump())


_Proposal = dict[str, tuple[Any, BaseDistribution]]
"""Value and distribution by the names of a study's parameters."""


def _proposal(settings: Mapping[str, Any], spec: StudySpec) -> _Proposal | None:
    """How a study would have proposed a trial with these settings; None where it could not have."""
    proposed = {}
    for name, address, allowed in _parameters(spec, model=str(settings[MODEL])):
        if inside(settings[address], allowed) != settings[address]:
            return None
        proposed[name] = (settings[address], allowed)
    here = flatten(trial_config(spec, {address: settings[address] for address in spec.space}).model_dump())
    same = all(here[one] == settings.get(one) for one in here if not one.startswith(_SAME_RESULT))
    return proposed if same else None


def _like(settings: Mapping[str, Any], spec: StudySpec) -> dict[str, Any]:
    """Parameters of this study as near to these settings as its ranges allow; none for a model that it has not."""
    model = str(settings[MODEL])
    if model not in spec.models:
        return {}
    return {name: inside(settings[address], allowed) for name, address, allowed in _parameters(spec, model=model)}


def _parameters(spec: StudySpec, *, model: str) -> Iterator[tuple[str, str, BaseDistribution]]:
    """Name, address and distribution of each dimension, for one model."""
    for address in spec.space:
        name, dimension = name_and_dimension(spec, address, model=model)
        yield name, address, distribution(address, dimension)


def _best(trials: list[FrozenTrial], source: StudySpec) -> list[FrozenTrial]:
    """The best COMPLETE trials by the first objective."""
    sign = -1.0 if direction(source.objective[0]) == "maximize" else 1.0
    complete = [one for one in trials if one.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda one: (sign * one.values[0], one.number))[:_TRIED_AGAIN]
