"""What `hpo run` does, from a checked spec to a registered winner."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.budget import Progress, settled, spent
from hpo.confirm import select_winner
from hpo.decision import Decision
from hpo.delivery import winner_of
from hpo.estimate import estimate
from hpo.gate import refuse_unknown_floors
from hpo.lease import Lease, leased
from hpo.ledger import Ledger
from hpo.measure import Site, Staff, staffed
from hpo.parent_run import ParentRun, drain
from hpo.patience import in_one_line
from hpo.places import Places, make_home
from hpo.promotion import promote
from hpo.retraining import refuse_too_few_rows
from hpo.screening import with_shortlist
from hpo.selection import Selection
from hpo.spec import StudySpec
from hpo.storage import definition, engine_of, finished_trials, load_study, open_study, refuse_changes
from hpo.study import Controller
from hpo.successor import learn, learned_from
from hpo.tester import WorkerTester
from hpo.warm_up import begin_warm_up, fixed_compile, fixed_precision
from pipelines.connection import is_away
from pipelines.data import Dataset, find_leakage, load_data, save_dataset
from pipelines.errors import ConfigError, StorageError
from pipelines.files import disk_full_errors, write_json
from pipelines.mirror import MirrorThread

_PATIENCE_SECONDS = 60.0  # for MLflow that does not answer, once all trials are done
_BRIEF_SECONDS = 5.0  # the same for a study that was stopped on request


@dataclass(frozen=True)
class Outcome:
    """How a session of a study ended."""

    reason: str
    selection: Selection | None
    """Its winner, and the evidence; None where it was stopped, or no trial is COMPLETE."""
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
    refuse_unknown_floors(spec.promotion, dataset.labels)
    refuse_too_few_rows(dataset, spec.confirm.folds)
    learned_from(spec, places=places)  # one that does not exist is refused before anything is written
    for note in dataset.notes:
        display.say(f"data: {note}")
    make_home(places)
    ledger = Ledger(places.storage)
    with disk_full_errors(places.home), in_one_line(places.storage), leased(ledger, spec.name) as lease:
        defined = definition(spec, data_digest=dataset.digest)  # with all checkpoints that are to be screened
        refuse_changes(spec.name, ledger.definition(spec.name), defined)
        spec, over = _settled(spec, ledger, places=places)
        dataset = _compared(dataset, places=places, say=display.say)
        save_dataset(dataset, places.study(spec.name) / "data")
        spec = with_shortlist(spec, dataset, places=places, begun=_begun(spec.name, ledger), say=display.say)
        with staffed(spec, _site(spec, dataset, places), measuring=not over, say=display.say) as staff:
            share = staff.share
            display.say(f"study {spec.name}: {share.workers} workers x {share.threads} threads ({share.reason})")
            return _session(
                spec, dataset, defined=defined, places=places, lease=lease, staff=staff, over=over, display=display
            )


def _compared(dataset: Dataset, *, places: Places, say: Callable[[str], None]) -> Dataset:
    """The data set with notes on near duplicates; `say` is told examples as well, which no file should keep."""
    leakage = find_leakage(dataset, places.leakage)
    for line in (*leakage.notes, *leakage.examples):
        say(f"data: {line}")
    return replace(dataset, notes=(*dataset.notes, *leakage.notes))


def _settled(spec: StudySpec, ledger: Ledger, *, places: Places) -> tuple[StudySpec, bool]:
    """The spec with its additional trials counted from what the study has; and whether its budget is spent already.

    Raises `ConfigError` when a study that has begun is to learn from others than at first.
    """
    row = ledger.study(spec.name)
    if row is None:
        return spec.model_copy(update={"budget": settled(spec.budget, before=None, finished=0)}), False
    trials = finished_trials(load_study(spec.name, places=places))
    finished, complete = len(trials), any(trial.state == TrialState.COMPLETE for trial in trials)
    before = StudySpec.model_validate_json(row.spec)
    if spec.learn_from and spec.learn_from != before.learn_from:
        learned = ", ".join(before.learn_from) or "none"
        raise ConfigError(
            f"study {spec.name!r} has begun; the studies that it learns from are chosen before that (it learns from "
            f"{learned}): give this one a name of its own (name=...)"
        )
    budget = settled(spec.budget, before=before.budget, finished=finished)
    progress = Progress(finished, minutes=row.seconds / 60)
    over = spent(budget, progress, kept=spec.kept_for_confirmation if complete else 0.0) is not None
    return spec.model_copy(update={"budget": budget, "learn_from": before.learn_from}), over


def _begun(name: str, ledger: Ledger) -> StudySpec | None:
    """What the study was launched with last; None for a new one."""
    row = ledger.study(name)
    return StudySpec.model_validate_json(row.spec) if row else None


def _site(spec: StudySpec, dataset: Dataset, places: Places) -> Site:
    study = places.study(spec.name)
    return Site(
        data=study / "data",
        digest=dataset.digest,
        encoded=places.cache / "encoded",
        measurements=places.cache / "costs",
        logs=study / "logs",
    )


def _session(
    spec: StudySpec,
    dataset: Dataset,
    *,
    defined: dict[str, Any],
    places: Places,
    lease: Lease,
    staff: Staff,
    over: bool,
    display: Display,
) -> Outcome:
    """One session with this process as the study's only controller; `defined` is what may not change in it."""
    began, executor, ledger = time.monotonic(), staff.executor, lease.ledger
    warm = None if over else begin_warm_up(spec, places=places, executor=executor)
    if warm:
        display.say("the workers load models and data")
    run, begun = ParentRun(spec, dataset, places=places, lease=lease), ledger.study(spec.name) is not None
    if not begun:
        run.connect()  # a mistyped address is refused; a new database is set up while the workers load
    choice = warm() if warm else None  # a model that cannot be used is refused here, before the study exists
    start = time.monotonic()
    study = open_study(spec, places=places)
    ledger.open_study(spec.name, defined, spec=spec.model_dump_json())
    for lesson in learn(study, spec, data_digest=dataset.digest, places=places):
        display.say(f"learns from {lesson.in_words()}")
    _open(run, in_the_middle=begun and not over, say=display.say)
    mirror = MirrorThread(run.sync_trial)
    controller = Controller(
        spec=spec,
        study=study,
        places=places,
        ledger=ledger,
        executor=executor,
        mirror=mirror,
        rows=len(dataset.splits["train"]),
        precision=fixed_precision(study, choice, say=display.say),
        compiled=fixed_compile(study, staff.prospect),
        say=display.say,
        show=display.show,
        prospect=staff.prospect,
        predicted=_predicted(spec, study, staff, test_rows=len(dataset.splits["test"])),
    )
    with _stopping_on_signals(controller), lease.guard(engine_of(study)):
        reason = controller.run()
        display.say(f"study {spec.name}: {reason}")
        selection = None if controller.stopped_on_request else select_winner(controller)
    lease.check()
    tester = WorkerTester(executor)
    decision = _finish(controller, run, mirror, dataset=dataset, tester=tester, say=display.say)
    took = time.monotonic() - began
    overhead = _overhead(controller, wall=time.monotonic() - start, tested=tester.seconds, took=took)
    if overhead is not None and not controller.stopped_on_request and controller.predicted is not None:
        display.say(f"predicted {controller.predicted / 60:.1f} min, took {took / 60:.1f} min")
    return Outcome(
        reason=reason,
        selection=selection,
        decision=decision,
        signal=controller.signal,
        overhead=overhead,
    )


def _open(run: ParentRun, *, in_the_middle: bool, say: Callable[[str], None]) -> None:
    """Open the study's run in MLflow; a study that is in the middle goes on without while that does not answer."""
    try:
        run.open()
    except StorageError as error:
        if not in_the_middle or not is_away(error):
            raise
        say(f"{error}; training goes on, and MLflow is brought up to date when it answers")


def _finish(
    controller: Controller,
    run: ParentRun,
    mirror: MirrorThread,
    *,
    dataset: Dataset,
    tester: WorkerTester,
    say: Callable[[str], None],
) -> Decision | None:
    """Send what is left to MLflow, promote the winner of a study that is over, and close the study's run.

    Raises `StorageError` when MLflow does not answer; a person who stopped the study is told so and not kept waiting.
    """
    spec, study, places, stopped = controller.spec, controller.study, controller.places, controller.stopped_on_request
    decision = None
    try:
        drain(mirror, places=places, patience=_BRIEF_SECONDS if stopped else _PATIENCE_SECONDS)
        if not stopped and spec.register_as and (winner := winner_of(spec, study, places)):
            decision = promote(
                spec,
                winner,
                dataset=dataset,
                places=places,
                ledger=controller.ledger,
                client=run.connect(),
                score_on_test=tester.score_on_test,
                prove=tester.prove,
                finish=tester.finish,
                score_elsewhere=tester.score_elsewhere,
            )
        run.close(study, interrupted=stopped, decision=decision)
    except StorageError as error:
        if not stopped:
            raise
        say(str(error))
    return decision


def _predicted(spec: StudySpec, study: optuna.Study, staff: Staff, *, test_rows: int) -> float | None:
    """Seconds from here to the session's end; None where no model was measured."""
    finished = len(finished_trials(study))
    if not staff.prospect.costs:
        return None
    foretold = estimate(spec, staff.prospect, staff.share, test_rows=test_rows, finished=finished)
    return foretold.seconds - (foretold.start_up if staff.warm else 0.0)


def _overhead(controller: Controller, *, wall: float, tested: float, took: float) -> float | None:
    """The session's overhead, as `Meter.overhead` counts it; None where nothing was trained.

    `took` are the seconds of the session with its start-up. The figures are kept in `report/session.json`, with what
    was predicted (null where nothing was measured).
    """
    meter, workers = controller.meter, controller.executor.slots
    if not meter.useful:
        return None
    share = meter.overhead(wall=wall, tested=tested, workers=workers)
    used = {"useful": meter.useful / workers, "idle": meter.idle / workers, "tested": tested}
    seconds = {"wall": wall, **used, "took": took, "predicted": controller.predicted}
    report = controller.places.study(controller.spec.name) / "report"
    write_json(report / "session.json", {"workers": workers, "overhead": share, "seconds": seconds})
    return share


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
