"""The controller: opens or resumes a study, hands segments to workers, records what comes back, and ends.

It is the only one that writes to Optuna's storage and the ledger; workers write files in their trial's directory.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.trial import TrialState

from hpo.estimate import NOTHING_KNOWN, Prospect
from hpo.executors import Executor, TaskFailedError, WorkerLostError
from hpo.failures import Failures
from hpo.ledger import Ledger
from hpo.meter import Meter
from hpo.objectives import missing_objectives, values_of
from hpo.patience import patiently
from hpo.places import Places
from hpo.planning import Planner, foretold
from hpo.proposals import Proposals
from hpo.schedule import Decision
from hpo.scheduling import new_schedule
from hpo.spec import StudySpec
from hpo.trials import Active, Mirror, Trials
from pipelines.errors import DiskFullError, UserError
from pipelines.segment import InfeasibleError, SegmentJob, SegmentResult

_ATTEMPTS = 3  # tries of one segment before its trial is FAILED
_BEHIND = "pruned: behind the others"

Value = TypeVar("Value")


@dataclass
class Controller:
    """One session of a study: from launch to its end, a stop on request, or a crash."""

    spec: StudySpec
    study: optuna.Study
    places: Places
    ledger: Ledger
    executor: Executor
    mirror: Mirror
    rows: int
    """Training rows of the data."""
    precision: str
    compiled: dict[str, str] = field(default_factory=dict)
    """`on` or `off` by model name: whether it is compiled."""
    task: str = "pipelines.run:train_segment"
    say: Callable[[str], None] = lambda _: None
    """Called with a line for the log."""
    show: Callable[["Controller"], None] = lambda _: None
    """Called several times a second to draw the state."""
    prospect: Prospect = NOTHING_KNOWN
    """What the models cost, and the memory there is."""
    predicted: float | None = None
    """Seconds that this session was predicted to take; None where nothing was measured."""
    running: dict[Future[Any], Active] = field(default_factory=dict)
    resting: dict[int, Active] = field(default_factory=dict)
    """Trials of this session that rest, by number."""
    signal: int | None = None
    """The signal that asked for a stop."""

    def __post_init__(self) -> None:
        self.schedule = new_schedule(self.spec, rows=self.rows, should_prune=self._should_prune)
        self.trials = Trials(
            self.spec,
            self.study,
            self.places,
            self.ledger,
            self.mirror,
            foretold=lambda active: foretold(active, self.prospect),
        )
        planner = Planner(self.spec, self.schedule, self.rows, self.precision, self.prospect, self.compiled)
        self._proposals = Proposals(self.spec, self.study, self.trials, planner)
        seen = {number: standing.examples for number, standing in self.trials.standings.items()}
        self.meter = Meter(self.spec, self.ledger, self.executor.devices, seen)
        self._failures = Failures(self.trials)
        self._stopping, self._news = False, True
        self._trouble: DiskFullError | None = None

    def run(self) -> str:
        """Work until the budget is spent or a stop is requested; returns the reason.

        Raises `StorageError` when the disk is full or the database stays away, `LeaseLostError` when another took over.
        """
        self.trials.catch_up()
        while True:
            self.patiently(self.meter.enter)
            if reason := self._reason_to_end():
                self._wind_down(reason)
                if self._trouble is not None:
                    raise self._trouble
                return reason
            self._fill()
            self._wait()
            self.patiently(self._settle)

    def _reason_to_end(self) -> str | None:
        """Why this session is over; None while it may go on."""
        if self.stopped_on_request or self._trouble is not None:
            return "stopped on request" if self._trouble is None else str(self._trouble)
        complete = sum(trial.state == TrialState.COMPLETE for trial in self.trials.ended.values())
        return self.meter.reason_to_end(self.study, finished=len(self.trials.ended), complete=complete)

    def request_stop(self, number: int) -> None:
        """Let every running trial stop at its next step boundary and keep a checkpoint; called by signal handlers."""
        self.signal = number

    @property
    def stopped_on_request(self) -> bool:
        """Whether somebody asked this session to end early."""
        return self.signal is not None

    @property
    def paused(self) -> int:
        """How many trials rest."""
        return sum(standing.rests for standing in self.trials.standings.values())

    def _fill(self) -> None:
        """Give every free worker something to do."""
        while len(self.running) < self.executor.slots and self.patiently(self._begin_one):
            pass

    def _begin_one(self) -> bool:
        """Begin what comes first: a trial of an earlier session, a promoted one, a new one. False: there is nothing."""
        if not self._proposals.left_over and (number := self._promoted()) is not None:
            self._resume(number)
            return True
        if (proposal := self._proposals.first()) is None:
            return False
        self._start(*proposal)
        self._proposals.take()
        return True

    def _promoted(self) -> int | None:
        """The resting trial that should go on."""
        busy = {active.number for active in self.running.values()}
        ready = self.schedule.promotable(self.trials.standings, planned=self.spec.budget.trials)
        return next((number for number in ready if number not in busy), None)

    def _start(self, active: Active, reason: str | None) -> None:
        """Put a new or an unfinished trial on a worker; one that cannot be trained ends for this reason."""
        if reason is not None:
            self.trials.end(active, TrialState.PRUNED, reason=reason)
            return
        self.trials.record(active, state="RUNNING")
        self._submit(active)

    def _resume(self, number: int) -> None:
        """Send a resting trial to its next stage."""
        active, reason = self._at_rest(number)
        if reason is not None:  # this machine has less memory than the one where it began
            self.trials.end(active, TrialState.PRUNED, reason=reason)
        else:
            self.trials.record(active, state="RUNNING")
            self._submit_next(active)
        self.resting.pop(number, None)

    def _at_rest(self, number: int) -> tuple[Active, str | None]:
        """A resting trial, and why it cannot go on here (None: it can)."""
        if number in self.resting:
            return self.resting[number], None
        return self._proposals.resting(number)

    def _submit(self, active: Active) -> None:
        """Send a trial to the end of its stage, or let it write the checkpoint that it will rest on."""
        if not active.parking:
            self.trials.send(active, active.stages[active.at].examples)
        job = SegmentJob(
            trial=f"{self.spec.name}/{active.number}",
            config=active.config,
            data=self.places.study(self.spec.name) / "data",
            directory=self.trials.directory(active.number),
            cache=self.places.cache / "encoded",
            until=active.stages[active.at].until,
            pause=active.parking,
        )
        active.submitted = time.monotonic()
        self.running[self.executor.submit(self.task, job, key=job.trial)] = active

    def _submit_next(self, active: Active) -> None:
        """Send a trial that has reported to its next stage."""
        self.trials.send(active, active.stages[active.at + 1].examples)
        active.at, active.attempt = active.at + 1, 1
        self._submit(active)

    def _wait(self) -> None:
        """Wait a moment for results; record each, and show the state."""
        start, spare = time.monotonic(), self.executor.slots - len(self.running)
        done, _ = wait(self.running, timeout=0.25, return_when=FIRST_COMPLETED)
        self.meter.idle += spare * (time.monotonic() - start)
        for future in done:
            self._take(self.running.pop(future), future)
        by_key = {f"{self.spec.name}/{active.number}": active for active in self.running.values()}
        for event in self.executor.events():
            if event.key in by_key:
                self._hear(by_key[event.key], event.progress)
        self.show(self)

    def _hear(self, active: Active, progress: dict[str, float]) -> None:
        """Take in what a running trial tells."""
        active.progress |= progress  # an evaluation tells no loss: the last one stays
        self._count_examples(active, step=int(progress.get("step", 0)))
        self.mirror.changed(self.trials.directory(active.number))

    def _count_examples(self, active: Active, *, step: int) -> None:
        self.meter.see(active.number, step * active.config.train.batch_size)

    def _take(self, active: Active, future: Future[Any]) -> None:
        """Record what a segment brought, however long the database takes."""
        active.wall = time.monotonic() - active.submitted
        self.patiently(lambda: self._receive(active, future))

    def _receive(self, active: Active, future: Future[Any]) -> None:
        """Record what a segment brought, and decide what becomes of its trial."""
        try:
            result: SegmentResult = future.result()
        except WorkerLostError as error:
            self.trials.spend(active, "lost", None)
            self._lost(active, str(error))
        except InfeasibleError as error:
            self.trials.spend(active, "error", None)
            self.trials.end(active, TrialState.PRUNED, reason=f"infeasible: {error}")
        except DiskFullError as error:
            self.trials.spend(active, "interrupted", None)
            self._trouble = error  # not the trial's fault: it goes on from its last checkpoint when there is room
        except (UserError, TaskFailedError) as error:
            self.trials.spend(active, "error", None)
            self._failures.enter(active, error)
        else:
            self._count_examples(active, step=result.step)
            self.trials.spend(active, "interrupted" if result.interrupted else "done", result)
            self._advance(active, result)
            self.meter.useful += result.seconds.get("train", 0.0) + result.seconds.get("evaluate", 0.0)
            self._failures.in_a_row = 0
        self._news = True

    def _advance(self, active: Active, result: SegmentResult) -> None:
        if active.parking or result.interrupted:
            self._rest(active)
            return
        self.trials.report(active, result)
        missing = missing_objectives(self.spec, result.scores) if result.finished else ""
        if missing:
            reason = f"infeasible: {missing} is undefined here"
            self.trials.end(active, TrialState.PRUNED, result=result, reason=reason)
        elif result.finished:
            values = values_of(self.spec, result.scores)
            self.trials.end(active, TrialState.COMPLETE, result=result, values=values)
        else:
            self._go_on(active, result)

    def _go_on(self, active: Active, result: SegmentResult) -> None:
        """What becomes of a trial that has reported and is not at its end."""
        decision = self.schedule.decide(active.number, self.trials.standings, planned=self.spec.budget.trials)
        if decision is Decision.STOP:
            self.trials.end(active, TrialState.PRUNED, result=result, reason=_BEHIND)
        elif decision is Decision.CONTINUE and not self._stopping:
            self._submit_next(active)
        else:
            active.parking = True
            self._submit(active)

    def _rest(self, active: Active) -> None:
        """Let a trial lie whose checkpoint is on disk."""
        rests, planned = self.trials.standings[active.number].rests, self.spec.budget.trials
        waits = rests and active.number not in self.schedule.promotable(self.trials.standings, planned=planned)
        self.trials.record(active, state="PAUSED" if waits else "INTERRUPTED")
        active.parking, active.attempt = False, 1
        if rests:
            self.resting[active.number] = active

    def _settle(self) -> None:
        """End the resting trials that cannot be promoted any more."""
        if not self._news:
            return
        busy = {active.number for active in self.running.values()}
        for number in self.schedule.hopeless(self.trials.standings, planned=self.spec.budget.trials):
            if number not in busy:
                self.trials.end(self._at_rest(number)[0], TrialState.PRUNED, reason=_BEHIND)
                self.resting.pop(number, None)
        self._news = False

    def _lost(self, active: Active, cause: str) -> None:
        if active.parking:
            self._rest(active)  # on an earlier checkpoint
        elif active.attempt >= _ATTEMPTS:
            self._failures.enter(active, WorkerLostError(f"{cause}, {_ATTEMPTS} times in a row"))
        elif self._stopping:
            self._rest(active)
        else:
            active.attempt += 1
            self._submit(active)

    def _should_prune(self, number: int) -> bool:
        trial = self.trials.stored(number)
        return bool(trial.intermediate_values) and self.study.pruner.prune(self.study, trial)

    def _wind_down(self, reason: str) -> None:
        """Stop what runs at the next step boundary. When the budget is spent, what is unfinished is PRUNED."""
        self._stopping = True
        self.executor.stop()
        while self.running:
            self._wait()
        if not self.stopped_on_request and self._trouble is None:
            self.patiently(lambda: self._end_unfinished(reason))
        self.patiently(lambda: self.meter.enter(at_once=True))

    def _end_unfinished(self, reason: str) -> None:
        """End what had no time to finish."""
        for trial in self.trials.unfinished():
            active, _ = self._proposals.ready(trial)
            if self.trials.standings[trial.number].rests and active.stages:
                self.trials.send(active, active.stages[active.at + 1].examples)  # it was not beaten
            self.trials.end(active, TrialState.PRUNED, reason=f"budget: {reason}")

    def patiently(self, action: Callable[[], Value]) -> Value:
        """What `action` returns, however long the database is away; see `hpo.patience`."""
        return patiently(action, url=self.ledger.url, say=self.say)
