"""Optuna's storage against the budget and the trials' records."""

import math
import re
from collections.abc import Iterator
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.doctor.case import AGAIN, Case, readable
from hpo.doctor.finding import Cure, Finding, Remedy
from hpo.objectives import missing_objectives, values_of

_TYPED = re.compile(r"[A-Za-z][A-Za-z ]*: \S")  # `worker lost: ...`, `DataError: ...`
_ENDS = {"COMPLETE", "PRUNED", "FAIL"}


def check(case: Case) -> Iterator[Finding]:
    """What is wrong with a study's trials."""
    if case.study is None:
        yield Finding("I1", case.name, None, "the ledger knows this study, Optuna's storage does not", advice=AGAIN)
        return
    yield from _number(case)
    yield from _reasons(case)
    if not case.live:
        yield from _left_over(case)
        yield from _states(case)
    yield from _values(case)


def _number(case: Case) -> Iterator[Finding]:
    count, budget = len(case.finished), case.spec.budget
    if budget.more is None and count > budget.trials:
        advice = f"if the budget was lowered, this is why: budget.trials={count} names what there is"
        what = f"{count} trials are finished, the budget is {budget.trials}"
        yield Finding("I1", case.name, None, what, advice=advice)
    limits = (budget.more, budget.examples, budget.device_hours, budget.money, budget.converged)
    closed = case.is_over and not case.live
    if closed and case.spent is None and all(limit is None for limit in limits):
        what = f"its MLflow run is FINISHED with {count} of {budget.trials} trials"
        yield Finding("I1", case.name, None, what, advice=AGAIN)


def _reasons(case: Case) -> Iterator[Finding]:
    for number, trial in case.finished.items():
        reason = trial.user_attrs.get("reason") or ""
        if trial.state == TrialState.FAIL and not _TYPED.match(reason):
            what = f"FAIL without a reason of the form `kind: cause` ({reason!r})"
            yield Finding("I1", case.name, number, what, advice="look into its error.txt and the workers' logs")
        if trial.state == TrialState.PRUNED and not reason:
            advice = "its record trial.json may say more"
            yield Finding("I1", case.name, number, "PRUNED without a reason", advice=advice)


def _left_over(case: Case) -> Iterator[Finding]:
    """Trials that should have ended with the study. Proposals that wait may: for a budget that is raised later."""
    if not case.is_over:
        return
    for number, trial in case.trials.items():
        if trial.state == TrialState.RUNNING or (trial.state == TrialState.WAITING and case.has_all):
            what = f"the study is over, this trial is {trial.state.name}"
            yield Finding("I2", case.name, number, what, advice=AGAIN)


def _states(case: Case) -> Iterator[Finding]:
    for number, trial in case.finished.items():
        state = case.records.get(number, {}).get("state")
        if state != trial.state.name:
            what = f"Optuna says {trial.state.name}, trial.json says {state or 'nothing'}"
            advice = "restore trial.json from a backup: Optuna decides, and nothing writes it anew"
            yield Finding("I4", case.name, number, what, advice=advice)
    for number in case.unfinished:
        record = case.records.get(number, {})
        if record.get("state") in _ENDS:
            what = f"trial.json says {record['state']}, Optuna says RUNNING"
            remedy = Remedy(Cure.TELL, str(case.directory(number))) if _would_end(case, number, record) else None
            yield Finding("I4", case.name, number, what, remedy, advice=AGAIN)
    for stray in sorted(case.records.keys() - case.trials.keys() - case.beside, key=str):
        what = f"{case.directory(stray)} is a trial that Optuna's storage does not know"
        advice = "is HPO_STORAGE the database that it was run with? Else move the directory away"
        yield Finding("I4", case.name, stray, what, advice=advice)


def _would_end(case: Case, number: int, record: dict[str, Any]) -> bool:
    """Whether the next session would tell Optuna just what the record says: the worker left that result."""
    scores = (readable(case.directory(number) / "result.json") or {}).get("scores", {})
    if record["state"] != "COMPLETE" or missing_objectives(case.spec, scores):
        return False
    return bool(record["values"] == values_of(case.spec, scores))


def _values(case: Case) -> Iterator[Finding]:
    for number, trial in case.trials.items():
        broken = [step for step, value in sorted(trial.intermediate_values.items()) if not math.isfinite(value)]
        if broken:
            what = f"its report at {broken[0]} training examples is not finite"
            yield Finding("I6", case.name, number, what, advice="no later step can undo it; leave the trial out")
        if trial.state == TrialState.COMPLETE:
            yield from _value(case, number, trial)


def _value(case: Case, number: int, trial: FrozenTrial) -> Iterator[Finding]:
    values, advice = list(trial.values), "one of the two was changed by hand: restore it from a backup"
    if not all(map(math.isfinite, values)):
        yield Finding("I6", case.name, number, f"Optuna's value is not finite: {values}", advice=advice)
    recorded = case.records.get(number, {}).get("values", values)
    if recorded != values:
        yield Finding("I6", case.name, number, f"Optuna says {values}, trial.json says {recorded}", advice=advice)
    scores = (readable(case.directory(number) / "result.json") or {}).get("scores", {})
    if not missing_objectives(case.spec, scores) and (measured := values_of(case.spec, scores)) != values:
        yield Finding("I6", case.name, number, f"Optuna says {values}, result.json says {measured}", advice=advice)
