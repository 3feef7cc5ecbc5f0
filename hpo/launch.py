"""What `hpo run` does, from a checked spec to a registered winner."""

import getpass
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient

from hpo.budget import Progress, settled, spent
from hpo.estimate import estimate
from hpo.executors import Executor
from hpo.lease import Lease, leased
from hpo.ledger import Ledger, printable
from hpo.listing import spec_of
from hpo.measure import Site, Staff, staffed
from hpo.places import Places, make_home
from hpo.promotion import Decision, promote
from hpo.report import draw_study, summary
from hpo.scheduling import schedule_in_words
from hpo.space import most_demanding
from hpo.spec import StudySpec
from hpo.storage import best_trial, definition, engine_of, finished_trials, load_study, open_study, refuse_changes
from hpo.study import Controller
from pipelines.config import flatten
from pipelines.data import Dataset, load_data, open_dataset, save_dataset
from pipelines.errors import StorageError
from pipelines.files import disk_full_errors, write_json, write_text
from pipelines.mirror import MirrorThread
from pipelines.segment import Choice, TestJob, WarmUpJob
from pipelines.tracking import Tracker, connect, tracking_errors

_PATIENCE_SECONDS = 60.0  # for a tracker that does not answer, once all trials are done


@dataclass(frozen=True)
class Outcome:
    """How a session of a study ended."""

    reason: str
    best: optuna.trial.FrozenTrial | None
    decision: Decision | None
    signal: int | None
    """The signal that ended it early."""
    overhead: float | None
    """Share of the wall time after start-up that was neither training nor evaluation; None where nothing ran."""


@dataclass(frozen=True)
class Display:
    """Where a session shows what it does; plain functions, so that tests and logs can take its place."""

    say: Callable[[str], None]
    """One line for the log."""
    show: Callable[[Controller], None]
    """The live state, several times a second."""


def run_study(spec: StudySpec, *, places: Places, display: Display) -> Outcome:
    """Launch or resume a study, and promote its winner when it is over.

    Raises `UserError`s: for its data (nothing is written then), models, databases, or a changed definition.
    """
    dataset = load_data(spec.run.data)
    for note in dataset.notes:
        display.say(f"data: {note}")
    make_home(places)
    ledger = Ledger(places.storage)
    with disk_full_errors(places.home), leased(ledger, spec.name) as lease:
        refuse_changes(spec.name, ledger.definition(spec.name), definition(spec, data_digest=dataset.digest))
        spec, over = _settled(spec, ledger, places=places)
        save_dataset(dataset, places.study(spec.name) / "data")
        with staffed(spec, _site(spec, dataset, places), measuring=not over, say=display.say) as staff:
            share = staff.share
            display.say(f"study {spec.name}: {share.workers} workers x {share.threads} threads ({share.reason})")
            return _session(spec, dataset, places=places, lease=lease, staff=staff, over=over, display=display)


def _settled(spec: StudySpec, ledger: Ledger, *, places: Places) -> tuple[StudySpec, bool]:
    """The spec with its additional trials counted from what the study has; and whether its budget is spent already."""
    row = ledger.study(spec.name)
    if row is None:
        return spec.model_copy(update={"budget": settled(spec.budget, before=None, finished=0)}), False
    finished = len(finished_trials(load_study(spec.name, places=places)))
    before = StudySpec.model_validate_json(row.spec).budget
    budget = settled(spec.budget, before=before, finished=finished)
    over = spent(budget, Progress(finished, minutes=row.seconds / 60)) is not None
    return spec.model_copy(update={"budget": budget}), over


def _site(spec: StudySpec, dataset: Dataset, places: Places) -> Site:
    study = places.study(spec.name)
    return Site(
        data=study / "data",
        digest=dataset.digest,
        encoded=places.cache / "encoded",
        measurements=places.cache / "costs",
        logs=study / "logs",
    )


def promote_study(name: str, *, places: Places) -> Decision:
    """Promote the winner of a study that has been run. Raises `UserError`s, as `promote` does."""
    from pipelines.locked import score_on_test
    from pipelines.segment import Unwatched

    spec, ledger = spec_of(places, name), Ledger(places.storage)
    with leased(ledger, name):
        return promote(
            spec,
            open_study(spec, places=places),
            dataset=open_dataset(places.study(name) / "data"),
            places=places,
            ledger=ledger,
            client=connect(places.tracking),
            score_on_test=lambda job: score_on_test(job, watch=Unwatched()),
        )


def _session(
    spec: StudySpec, dataset: Dataset, *, places: Places, lease: Lease, staff: Staff, over: bool, display: Display
) -> Outcome:
    """One session with this process as the study's only controller."""
    began, executor, ledger = time.monotonic(), staff.executor, lease.ledger
    warm = None if over else _begin_warm_up(spec, places=places, executor=executor)
    if warm:
        display.say("the workers load models and data")
    client = connect(places.tracking)  # a new database is set up while the workers load
    choice = warm() if warm else None  # a model that cannot be used is refused here, before the study exists
    start = time.monotonic()
    study = open_study(spec, places=places)
    ledger.open_study(spec.name, definition(spec, data_digest=dataset.digest), spec=spec.model_dump_json())
    tracker = _open_tracker(client, spec, dataset, places=places, lease=lease)
    mirror = MirrorThread(tracker.sync_trial)
    controller = Controller(
        spec=spec,
        study=study,
        places=places,
        ledger=ledger,
        executor=executor,
        mirror=mirror,
        rows=len(dataset.splits["train"]),
        precision=_fixed_precision(study, choice, display=display),
        compiled=_fixed_compile(study, staff),
        say=display.say,
        show=display.show,
        prospect=staff.prospect,
        predicted=_predicted(spec, study, staff, test_rows=len(dataset.splits["test"])),
    )
    with _stopping_on_signals(controller), lease.guard(engine_of(study)):
        reason = controller.run()
    lease.check()
    display.say(f"study {spec.name}: {reason}")
    _drain(mirror, places=places)
    scorer = _WorkerScorer(executor)
    decision = None
    if not controller.stopped_on_request and spec.register_as and best_trial(study):
        decision = promote(
            spec, study, dataset=dataset, places=places, ledger=ledger, client=client, score_on_test=scorer
        )
    _close_tracker(tracker, spec, study, places=places, interrupted=controller.stopped_on_request, decision=decision)
    took = time.monotonic() - began
    overhead = _overhead(controller, wall=time.monotonic() - start, tested=scorer.seconds, took=took)
    if overhead is not None and not controller.stopped_on_request and controller.predicted is not None:
        display.say(f"predicted {controller.predicted / 60:.1f} min, took {took / 60:.1f} min")
    return Outcome(
        reason=reason,
        best=best_trial(study),
        decision=decision,
        signal=controller.signal,
        overhead=overhead,
    )


def _predicted(spec: StudySpec, study: optuna.Study, staff: Staff, *, test_rows: int) -> float | None:
    """Seconds from here to the session's end; None where no model was measured."""
    finished = len(finished_trials(study))
    if not staff.prospect.costs:
        return None
    foretold = estimate(spec, staff.prospect, staff.share, test_rows=test_rows, finished=finished)
    return foretold.seconds - (foretold.start_up if staff.warm else 0.0)


def _overhead(controller: Controller, *, wall: float, tested: float, took: float) -> float | None:
    """Share of a session's wall time that workers neither trained, nor evaluated, nor had nothing left to do.

    `tested` are the seconds of the evaluation on the locked split, `took` those of the session with its start-up. The
    figures are kept in `report/session.json`, with what was predicted (null where nothing was measured).
    """
    if not controller.useful:
        return None
    slots = controller.executor.slots
    useful, idle = controller.useful / slots, controller.idle / slots
    share = max(0.0, wall - useful - idle - tested) / wall
    seconds = {"wall": wall, "useful": useful, "idle": idle, "tested": tested, "took": took}
    report = controller.places.study(controller.spec.name) / "report"
    write_json(
        report / "session.json",
        {"workers": slots, "overhead": share, "seconds": {**seconds, "predicted": controller.predicted}},
    )
    return share


def _begin_warm_up(spec: StudySpec, *, places: Places, executor: Executor) -> Callable[[], Choice]:
    """Let all workers load models and data while this process opens its databases; call the result to wait."""
    configs = tuple(most_demanding(spec, model) for model in spec.models)
    everything = WarmUpJob(configs, data=places.study(spec.name) / "data", cache=places.cache / "encoded")
    first_model = replace(everything, configs=configs[:1])  # one worker checks all models, the others get ready
    futures = [
        executor.submit("pipelines.run:warm_up", first_model if index else everything, key=f"warm-up-{index}")
        for index in range(executor.slots)
    ]

    def all_ready() -> Choice:
        choices: list[Choice] = [future.result() for future in futures]
        return choices[0]

    return all_ready


def _fixed_precision(study: optuna.Study, choice: Choice | None, *, display: Display) -> str:
    """The precision of the whole study, fixed when it first runs: its trials must be comparable."""
    if choice is not None and "precision" not in study.user_attrs:
        study.set_user_attr("precision", choice.value)
    chosen = str(study.user_attrs.get("precision", "fp32"))
    if choice is not None:
        display.say(f"precision {chosen}: {choice.reason if chosen == choice.value else 'as when the study began'}")
    return chosen


def _fixed_compile(study: optuna.Study, staff: Staff) -> dict[str, str]:
    """Whether each model is compiled, fixed when it is first measured: a resumed trial must be the same."""
    before: dict[str, str] = study.user_attrs.get("compile", {})
    now = {name: cost.facts.compile.value for name, cost in staff.prospect.costs.items()} | before
    if now != before:
        study.set_user_attr("compile", now)
    return now


def _drain(mirror: MirrorThread, *, places: Places) -> None:
    """Wait until the tracker has everything. Raises `StorageError` when it does not answer."""
    if not mirror.close(patience=_PATIENCE_SECONDS):
        raise StorageError(
            f"tracking {printable(places.tracking)}: {mirror.error or 'not answering'}; nothing is lost: run the same "
            "command again when it answers, and it will be brought up to date"
        )


def _open_tracker(client: MlflowClient, spec: StudySpec, dataset: Dataset, *, places: Places, lease: Lease) -> Tracker:
    """Open the study's runs in MLflow. Raises `StorageError` when it does not answer."""
    tracker = Tracker(client, artifacts=places.artifacts, allowed=lease.check)
    params = flatten(spec.model_dump(exclude={"description", "name"}))
    with tracking_errors(places.tracking):
        tracker.open_study(spec.name, description=_description(spec, dataset), params=params, tags=_provenance())
        tracker.set_data(dataset)
    return tracker


def _description(spec: StudySpec, dataset: Dataset) -> str:
    """The study's note in MLflow, in Markdown."""
    searched = "\n".join(f"- `{address}`" for address in spec.space) or "- nothing"
    rows = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    wanted = ", ".join(f"`{objective.metric}`" for objective in spec.objective)
    return (
        f"{spec.description or f'Study {spec.name}'}\n\n"
        f"**Data** {dataset.name} ({', '.join(dataset.labels)}); rows: {rows}\n\n"
        f"**Models** {', '.join(spec.models)}\n\n**Objective** {wanted} on the select split\n\n"
        f"**Searched** by {spec.sampler.name}, {spec.budget.trials} trials; "
        f"{schedule_in_words(spec, rows=len(dataset.splits['train']))}:\n\n"
        f"{searched}\n"
    )


def _provenance() -> dict[str, str]:
    """What every run should say about the code that made it."""
    from importlib.metadata import version

    names = ("hpo-finetune", "torch", "transformers", "datasets", "optuna", "mlflow", "scikit-learn")
    tags = {f"version.{name}": version(name) for name in names}
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        tags["mlflow.source.git.commit"] = found.stdout.strip()
    return tags | {"mlflow.source.name": "hpo run", "mlflow.user": getpass.getuser()}


def _close_tracker(
    tracker: Tracker,
    spec: StudySpec,
    study: optuna.Study,
    *,
    places: Places,
    interrupted: bool,
    decision: Decision | None,
) -> None:
    """Give the study's own run its end state, pictures and result."""
    folder = places.study(spec.name) / "report"
    folder.mkdir(exist_ok=True)
    write_text(folder / "spec.json", spec.model_dump_json(indent=1))
    draw_study(spec, study, folder)
    tags = {"hpo.result": f"{decision.model} version {decision.version}: {decision.alias}"} if decision else {}
    metrics = summary(spec, study) | ({f"test/{k}": v for k, v in decision.scores.items()} if decision else {})
    with tracking_errors(places.tracking):
        tracker.log_study_files(folder)
        tracker.close_study(status="SCHEDULED" if interrupted else "FINISHED", metrics=metrics, tags=tags)


class _WorkerScorer:
    """Scores on the locked split on a warm worker, and counts the time: it is evaluation, not overhead."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.seconds = 0.0

    def __call__(self, job: TestJob) -> dict[str, dict[str, float]]:
        start = time.monotonic()
        scores: dict[str, dict[str, float]]
        scores = self._executor.submit("pipelines.locked:score_on_test", job, key="test").result()
        self.seconds += time.monotonic() - start
        return scores


@contextmanager
def _stopping_on_signals(controller: Controller) -> Iterator[None]:
    """The first SIGINT or SIGTERM stops at the next step boundary, with checkpoints; the second one at once."""

    def on_signal(number: int, frame: Any) -> None:
        if controller.stopped_on_request:
            raise KeyboardInterrupt
        controller.request_stop(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
