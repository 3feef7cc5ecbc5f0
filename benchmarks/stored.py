"""A study with thousands of trials, written straight into the tables: through Optuna's own calls it would take hours.

Where each trial stands is what successive halving would have made of it: the best third of each rung went on, who can
still be promoted rests, and the others are over.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

from hpo.ledger import Ledger, SegmentRow
from hpo.places import Places, make_home
from hpo.scheduling import rungs, scheduling
from hpo.space import distribution
from hpo.spec import StudySpec
from hpo.storage import engine_of, open_study

ROWS = 6_000
"""Training rows that a stored study pretends to have."""
_LOW_RATE, _HIGH_RATE = 1e-6, 1e-2
_SPACE: dict[str, Any] = {
    "train.learning_rate": {"low": _LOW_RATE, "high": _HIGH_RATE, "log": True},
    "train.batch_size": {"choices": [8, 16, 32, 64]},
    "train.warmup_ratio": {"low": 0.0, "high": 0.3},
    "train.weight_decay": {"low": 0.0, "high": 0.3},
    "train.layer_decay": {"low": 0.5, "high": 1.0},
    "model.dropout": {"low": 0.0, "high": 0.5},
}


@dataclass(frozen=True)
class _Trial:
    number: int
    parameters: dict[str, float]
    """As Optuna stores them: the index of a choice, the value of a number."""
    reports: dict[int, float]
    """Accuracy by training examples."""
    state: TrialState


def a_spec(*, trials: int, **changes: Any) -> StudySpec:
    """A study of six dimensions and three rungs, searched by TPE."""
    plain: dict[str, Any] = {
        "name": "large",
        "budget": {"trials": trials},
        "sampler": "tpe",
        "schedule": {"name": "halving", "floor": 600, "factor": 3, "score": "objective"},
        "run": {"train": {"epochs": 3.0}},
        "space": _SPACE,
        "start_with_defaults": False,
    }
    return StudySpec.model_validate(plain | changes)


def accuracy(rate: float, dropout: float, *, share: float) -> float:
    """What a made-up training scores after a share of its way; best at a learning rate of 3e-5 and dropout 0.1."""
    away = abs(math.log10(rate) + 4.5) / 5 + abs(dropout - 0.1)
    return max(0.5, 0.95 - 0.3 * away) * (0.7 + 0.3 * share)


def fill(spec: StudySpec, places: Places, *, stored: int) -> None:
    """Let the study have so many trials, with their directories and their spend."""
    make_home(places)
    ledger, study = Ledger(places.storage), open_study(spec, places=places)
    ledger.open_study(spec.name, {}, spec=spec.model_dump_json())
    trials = list(_trials(spec, stored))
    with engine_of(study).begin() as connection:
        _insert(connection, study, spec, trials)
    with ledger.engine.begin() as connection:
        connection.execute(sa.insert(SegmentRow), [row for one in trials for row in _segments(spec, one)])
    for one in trials:
        directory = places.trial(spec.name, one.number)
        directory.mkdir(parents=True)
        (directory / "trial.json").write_text(json.dumps({"number": one.number, "state": one.state.name}), "utf-8")


def _trials(spec: StudySpec, stored: int) -> Iterator[_Trial]:
    """Trials at random, each as far as its rank among all allows."""
    marks, factor = [*rungs(spec, rows=ROWS), round(3.0 * ROWS)], scheduling(spec).factor
    draw = random.Random(0)
    drawn = [{address: _drawn(draw, address, spec) for address in spec.space} for _ in range(stored)]
    ranked = sorted(range(stored), key=lambda number: -_score(drawn[number], share=1.0))
    ranks = {number: rank for rank, number in enumerate(ranked)}
    for number, parameters in enumerate(drawn):
        passed = [rung for rung in range(len(marks) - 1) if ranks[number] < stored // factor ** (rung + 1)]
        reports = {mark: _score(parameters, share=mark / marks[-1]) for mark in marks[: len(passed) + 1]}
        may_rest = ranks[number] < spec.budget.trials // factor ** len(reports)
        state = TrialState.RUNNING if may_rest else TrialState.PRUNED
        yield _Trial(number, parameters, reports, TrialState.COMPLETE if len(reports) == len(marks) else state)


def _drawn(draw: random.Random, address: str, spec: StudySpec) -> float:
    allowed = distribution(address, spec.space[address])
    if isinstance(allowed, CategoricalDistribution):
        return float(draw.randrange(len(allowed.choices)))
    low, high = spec.space[address].low or 0.0, spec.space[address].high or 0.0
    return math.exp(draw.uniform(math.log(low), math.log(high))) if spec.space[address].log else draw.uniform(low, high)


def _score(parameters: Mapping[str, float], *, share: float) -> float:
    return accuracy(parameters["train.learning_rate"], parameters["model.dropout"], share=share)


def _insert(connection: sa.Connection, study: optuna.Study, spec: StudySpec, trials: list[_Trial]) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        {
            "number": one.number,
            "study_id": study._study_id,
            "state": one.state,
            "datetime_start": now,
            "datetime_complete": now if one.state.is_finished() else None,
        }
        for one in trials
    ]
    table = models.TrialModel.__table__
    connection.execute(sa.insert(table), rows)
    found = connection.execute(sa.select(table.c.number, table.c.trial_id).where(table.c.study_id == study._study_id))
    ids = {row.number: row.trial_id for row in found}
    kinds = {address: distribution_to_json(distribution(address, spec.space[address])) for address in spec.space}
    for model, make in ((models.TrialParamModel, lambda one: _parameters(one, kinds)), *_DETAILS):
        rows = [{"trial_id": ids[one.number], **row} for one in trials for row in make(one)]
        if rows:
            connection.execute(sa.insert(model.__table__), rows)


def _parameters(one: _Trial, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"param_name": address, "param_value": value, "distribution_json": kinds[address]}
        for address, value in one.parameters.items()
    ]


def _values(one: _Trial) -> list[dict[str, Any]]:
    finite = models.TrialValueModel.TrialValueType.FINITE
    last = one.reports[max(one.reports)]
    return [{"objective": 0, "value": last, "value_type": finite}] if one.state.is_finished() else []


def _reports(one: _Trial) -> list[dict[str, Any]]:
    finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    return [
        {"step": step, "intermediate_value": value, "intermediate_value_type": finite}
        for step, value in one.reports.items()
    ]


def _attributes(one: _Trial) -> list[dict[str, Any]]:
    known: dict[str, Any] = {"goal": max(one.reports)}
    if one.state == TrialState.PRUNED:
        known["reason"] = "pruned: behind the others"
    return [{"key": key, "value_json": json.dumps(value)} for key, value in known.items()]


_DETAILS: tuple[Any, ...] = (
    (models.TrialValueModel, _values),
    (models.TrialIntermediateValueModel, _reports),
    (models.TrialUserAttributeModel, _attributes),
)


def _segments(spec: StudySpec, one: _Trial) -> list[dict[str, Any]]:
    return [
        {
            "study": spec.name,
            "trial": one.number,
            "attempt": 1,
            "step": examples // 32,
            "outcome": "done",
            "wall": 1.0,
            "seconds": json.dumps({"train": 1.0, "evaluate": 0.1}),
        }
        for examples in one.reports
    ]
