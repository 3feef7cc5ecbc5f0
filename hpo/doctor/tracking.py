"""MLflow's runs against the trials, their records and their journals."""

import math
from collections import Counter
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState

from hpo.doctor.case import AGAIN, Case, RunFacts, Which, readable
from hpo.doctor.finding import Cure, Finding, Remedy
from pipelines.tracking import CURVES, STATUS

Points = dict[tuple[str, int], float]
"""Values by metric and step."""


def read_runs(client: MlflowClient, study: str) -> list[RunFacts]:
    """All runs in a study's experiment, deleted ones left out. Raises MLflow's errors."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    page = client.search_runs([experiment.experiment_id])
    found = list(page)
    while page.token:
        page = client.search_runs([experiment.experiment_id], page_token=page.token)
        found += page
    return [_facts(client, run) for run in found]


def _facts(client: MlflowClient, run: Run) -> RunFacts:
    points = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    return RunFacts(
        id=run.info.run_id,
        status=run.info.status,
        started=run.info.start_time,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        points=points,
    )


def check(case: Case) -> Iterator[Finding]:
    """What is wrong with a study's runs; nothing where MLflow did not answer."""
    if case.runs is None:
        return
    yield from _parents(case)
    yield from _strangers(case)
    known = case.trials.keys() | case.beside
    for number, runs in sorted(case.runs_by_training.items(), key=lambda item: str(item[0])):
        kept, *others = sorted(runs, key=lambda run: (run.id != _mirrored(case, number), run.started))
        for other in others:
            what = f"it has {len(runs)} runs; {kept.id} is the one that is kept"
            yield Finding("I3", case.name, number, what, Remedy(Cure.DELETE_RUN, other.id))
        if number in case.records and number in known:
            yield from _run(case, number, kept)
        elif isinstance(number, str):
            what = f"run {kept.id} is of a training that has no directory"
            yield Finding("I3", case.name, number, what, advice="was the directory removed? Else delete the run")
        elif number not in case.trials:
            what = f"run {kept.id} is of a trial that Optuna's storage does not know"
            advice = "is HPO_STORAGE the database that it was run with? Else delete the run"
            yield Finding("I3", case.name, number, what, advice=advice)
    if not case.live:
        yield from _missing(case)


def _parents(case: Case) -> Iterator[Finding]:
    named = Counter((readable(case.directory(number) / "mirror.json") or {}).get("parent") for number in case.records)
    parents = sorted(case.parents, key=lambda run: (-named[run.id], run.started))
    for other in parents[1:]:
        what = f"the study has {len(parents)} runs of its own; {parents[0].id} is the one that is kept"
        yield Finding("I3", case.name, None, what, Remedy(Cure.DELETE_RUN, other.id))
    if not parents and case.trials and not case.live:
        yield Finding("I3", case.name, None, "the study has no run of its own in MLflow", advice=f"{AGAIN} to make it")
    if parents and case.has_all and not case.live and parents[0].status != "FINISHED":
        what = f"all trials are finished, the study's run {parents[0].id} is {parents[0].status}"
        yield Finding("I4", case.name, None, what, advice=f"{AGAIN}: it ends the study and promotes the winner")


def _strangers(case: Case) -> Iterator[Finding]:
    known = {run.id for runs in case.runs_by_training.values() for run in runs} | {run.id for run in case.parents}
    for run in case.runs or []:
        of_a_study = run.tags.get("hpo.kind") in {None, "study", "trial"}  # `hpo tokenizers` has an experiment, too
        if run.id not in known and of_a_study:
            name = run.tags.get("mlflow.runName", "without a name")
            what = f"run {run.id} ({name}) is of no trial: its tags hpo.study and hpo.trial do not say which"
            yield Finding("I3", case.name, None, what, Remedy(Cure.DELETE_RUN, run.id))


def _missing(case: Case) -> Iterator[Finding]:
    for number in sorted(case.records.keys() & (case.trials.keys() | case.beside), key=str):
        if number not in case.runs_by_training:
            what = "it has no run in MLflow"
            remedy = _send(case, number) if case.parents else None
            yield Finding("I3", case.name, number, what, remedy, advice=AGAIN)


def _run(case: Case, number: Which, run: RunFacts) -> Iterator[Finding]:
    record = case.records[number]
    state = record["state"]
    if not case.live and (run.status != STATUS[state] or run.tags.get("hpo.state") != state):
        what = f"trial.json says {state}, run {run.id} is {run.status}, its tag hpo.state {run.tags.get('hpo.state')}"
        yield Finding("I4", case.name, number, what, _send(case, number))
    yield from _curves(case, number, run)
    if isinstance(number, int) and case.trials[number].state == TrialState.COMPLETE and not case.live:
        yield from _value(case, number, run)


def _curves(case: Case, number: Which, run: RunFacts) -> Iterator[Finding]:
    records = case.journal(number)
    if records is None:
        return
    journal: Points = {
        (f"{CURVES[record['kind']]}{name}", record["step"]): value
        for record in records
        for name, value in record["values"].items()
    }
    points = [
        ((name, step), value)
        for name, history in run.points.items()
        if name.startswith(tuple(CURVES.values()))
        for step, value in history
    ]
    sent = dict(points)
    doubled = [key for key, count in Counter(key for key, _ in points).items() if count > 1]
    foreign = [key for key in sent if key not in journal]
    other = [key for key in sent if key in journal and not _equal(sent[key], journal[key]) and key not in doubled]
    lacking = [] if case.live else [key for key in journal if key not in sent]
    anew = f"delete run {run.id} in MLflow, then --fix sends the whole trial to a new one"
    if doubled:
        yield Finding("I5", case.name, number, f"{_named(doubled)} stands more than once in MLflow", advice=anew)
    if foreign:
        yield Finding("I5", case.name, number, f"{_named(foreign)} is in MLflow and not in the journal", advice=anew)
    if other:
        what = f"{_named(other)} is {sent[min(other)]} in MLflow, {journal[min(other)]} in the journal"
        yield Finding("I5", case.name, number, what, advice=anew)
    if lacking:
        yield Finding("I5", case.name, number, f"{_named(lacking)} is missing in MLflow", _send(case, number))


def _value(case: Case, number: int, run: RunFacts) -> Iterator[Finding]:
    """A COMPLETE trial's objectives: MLflow's last value, and any other it was ever told."""
    for objective, value in zip(case.spec.objective, case.trials[number].values, strict=False):
        name = f"objective/{objective.metric}"
        told = [point for _, point in run.points.get(name, [])]
        wrong = [point for point in told if not _equal(point, value)]
        if not told:
            yield Finding("I6", case.name, number, f"{name} is missing in MLflow", _send(case, number))
        if wrong:
            what = f"{name} is {wrong[0]} in MLflow, Optuna says {value}"
            advice = f"delete run {run.id} in MLflow, then --fix sends the whole trial to a new one"
            yield Finding("I6", case.name, number, what, advice=advice)


def _equal(one: float, other: float) -> bool:
    """Equal but for what a database's text of a number may lose."""
    return math.isclose(one, other, rel_tol=1e-12)


def _mirrored(case: Case, number: Which) -> str | None:
    return (readable(case.directory(number) / "mirror.json") or {}).get("run_id")


def _send(case: Case, number: Which) -> Remedy:
    return Remedy(Cure.SEND, str(case.directory(number)))


def _named(keys: list[tuple[str, int]]) -> str:
    name, step = min(keys)
    more = f" (and {len(keys) - 1} more points)" if len(keys) > 1 else ""
    return f"{name} at step {step}{more}"
