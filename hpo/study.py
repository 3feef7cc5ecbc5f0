"""The controller: opens or resumes a study, hands segments to workers, records what comes back, and ends.

It is the only one that writes to Optuna's storage and the ledger; workers write files in their trial's directory.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import BaseTrial, TrialState
from pydantic import ValidationError

from hpo.budget import Progress, spent
from hpo.components import new_sampler
from hpo.estimate import NOTHING_KNOWN, Prospect, excess_gib, fitted, planned_seconds
from hpo.executors import Executor, TaskFailedError, WorkerLostError
from hpo.ledger import Ledger
from hpo.objectives import missing_objectives, values_of
from hpo.places import Places
from hpo.records import write_record
from hpo.schedule import Decision, Schedule, Stage, Straight
from hpo.space import suggest, trial_config
from hpo.spec import StudySpec
from hpo.storage import best_trial
from pipelines.config import RunConfig, replaced
from pipelines.errors import ConfigError, UserError
from pipelines.segment import InfeasibleError, SegmentJob, SegmentResult

_ATTEMPTS = 3  # tries of one segment before its trial is FAILED
_FAILURES = 5  # failed trials in a row before the study gives up: the fault is not in the configurations
_MICRO = "micro_batch_size"  # a trial's attribute: the micro-batch that was chosen to fit into memory
_BEAT_SECONDS = 5.0  # between two entries of wall time in the ledger


class Mirror(Protocol):
    """Whoever shows the trials elsewhere; told that a trial's directory has changed."""

    def changed(self, directory: Path) -> None:
        """Something in this trial's directory is new."""
        ...


@dataclass
class Running:
    """A trial on a worker."""

    trial: optuna.Trial
    config: RunConfig
    stages: list[Stage]
    at: int = 0
    """Index of the stage that is being trained."""
    attempt: int = 1
    submitted: float = 0.0
    progress: dict[str, float] = field(default_factory=dict)


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
    show: Callable[["Controller"], None] = lambda _: None
    """Called several times a second to draw the state."""
    prospect: Prospect = NOTHING_KNOWN
    """What the models cost, and the memory there is."""
    predicted: float | None = None
    """Seconds that this session was predicted to take; None where nothing was measured."""
    running: dict[Future[Any], Running] = field(default_factory=dict)
    seconds: float = 0.0
    """Wall-clock seconds of the study, earlier sessions included."""
    failures: int = 0
    """Failed trials in a row."""
    signal: int | None = None
    """The signal that asked for a stop."""
    useful: float = 0.0
    """Seconds of training and evaluation in this session, summed over the workers."""
    idle: float = 0.0
    """Seconds that workers had nothing to do because no trial was left to begin, summed over the workers."""

    def __post_init__(self) -> None:
        self.schedule: Schedule = Straight(prunes=len(self.spec.objective) == 1)
        self.pending = self._unfinished()
        self._counted = time.monotonic()
        self._stopping = False
        self._best: int | None = None
        self.seconds = self.ledger.add_seconds(self.spec.name, 0.0)

    def run(self) -> str:
        """Work until the budget is spent or a stop is requested; returns the reason."""
        self._catch_up()
        while True:
            self._count_time()
            reason = "stopped on request" if self.stopped_on_request else spent(self.spec.budget, self._progress())
            if reason:
                return self._wind_down(reason)
            self._fill()
            self._wait()

    def request_stop(self, number: int) -> None:
        """Let every running trial stop at its next step boundary and keep a checkpoint; called by signal handlers."""
        self.signal = number

    @property
    def stopped_on_request(self) -> bool:
        """Whether somebody asked this session to end early."""
        return self.signal is not None

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that will not train again."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def _unfinished(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that began and did not end, oldest first."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]

    def _catch_up(self) -> None:
        """Do what an earlier session was kept from: show its trials to the mirror, free the disk."""
        for leftover in self.places.study(self.spec.name).glob("trial-*/**/.*.tmp"):  # of writes that a kill cut short
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for trial in self.study.get_trials(deepcopy=False):
            directory = self.places.trial(self.spec.name, trial.number)
            if (directory / "trial.json").exists():
                self.mirror.changed(directory)
        self._free_disk(self.finished)

    def _progress(self) -> Progress:
        return Progress(finished=len(self.finished), minutes=self.seconds / 60)

    def _fill(self) -> None:
        """Give every free worker something to do: first the trials of an earlier session, then new ones."""
        while len(self.running) < self.executor.slots:
            if self.pending:
                unfinished = self.pending.pop(0)
                self.study.sampler = new_sampler(self.spec, trial=unfinished.number)  # it may not have all its values
                self._start(optuna.Trial(self.study, unfinished._trial_id))
            elif len(self.finished) + len(self.running) < self.spec.budget.trials:
                self.study.sampler = new_sampler(self.spec, trial=len(self.study.get_trials(deepcopy=False)))
                self._start(self.study.ask())
            else:
                return

    def _start(self, trial: optuna.Trial) -> None:
        """Put a new or an unfinished trial on a worker."""
        running = self._plan(trial)
        if running is not None:
            self.mirror.changed(self._record(running, state="RUNNING"))
            self._submit(running)

    def _plan(self, trial: optuna.Trial) -> Running | None:
        """A trial's configuration and the stages before it; None when its values contradict each other."""
        try:
            config = self._chosen(trial_config(self.spec, suggest(trial, self.spec)))
        except ValidationError as error:
            running = Running(trial, self.spec.run, stages=[])
            self._end(running, TrialState.PRUNED, reason=f"infeasible: {error.errors()[0]['msg']}")
            return None
        try:
            config = self._within_memory(trial, config)
        except InfeasibleError as error:
            trial.set_constraint("memory_gib", excess_gib(config, self.prospect))  # so that the sampler learns
            self._end(Running(trial, config, stages=[]), TrialState.PRUNED, reason=f"infeasible: {error}")
            return None
        stages = self.schedule.stages(config, rows=self.rows)
        reported = max(_intermediate(trial), default=trial.user_attrs.get("examples", -1))
        return Running(trial, config, stages, at=sum(stage.examples <= reported for stage in stages[:-1]))

    def _chosen(self, config: RunConfig) -> RunConfig:
        """The configuration with what this study chose in the place of `auto`."""
        chosen = {"precision": self.precision, "compile": self.compiled.get(config.model.name, "off")}
        fresh = {name: value for name, value in chosen.items() if getattr(config.train, name) == "auto"}
        return config.model_copy(update={"train": config.train.model_copy(update=fresh)})

    def _within_memory(self, trial: optuna.Trial, config: RunConfig) -> RunConfig:
        """The configuration in micro-batches that fit; chosen once a trial, for a resumed one must be the same."""
        if _MICRO not in trial.user_attrs:
            chosen = fitted(config, self.prospect).train.micro_batch_size
            if chosen == config.train.micro_batch_size:
                return config
            trial.set_user_attr(_MICRO, chosen)
        return replaced(config, {"train.micro_batch_size": trial.user_attrs[_MICRO]})

    def _submit(self, running: Running) -> None:
        number = running.trial.number
        job = SegmentJob(
            trial=f"{self.spec.name}/{number}",
            config=running.config,
            data=self.places.study(self.spec.name) / "data",
            directory=self.places.trial(self.spec.name, number),
            cache=self.places.cache / "encoded",
            until=running.stages[running.at].until,
        )
        running.submitted = time.monotonic()
        self.running[self.executor.submit(self.task, job, key=job.trial)] = running

    def _wait(self) -> None:
        """Wait a moment for results; record each, and show the state."""
        start, spare = time.monotonic(), self.executor.slots - len(self.running)
        done, _ = wait(self.running, timeout=0.25, return_when=FIRST_COMPLETED)
        self.idle += spare * (time.monotonic() - start)
        for future in done:
            self._receive(self.running.pop(future), future)
        by_key = {f"{self.spec.name}/{running.trial.number}": running for running in self.running.values()}
        for event in self.executor.events():
            if event.key in by_key:
                by_key[event.key].progress = event.progress
                self.mirror.changed(self.places.trial(self.spec.name, by_key[event.key].trial.number))
        self.show(self)

    def _receive(self, running: Running, future: Future[Any]) -> None:
        """Record what a segment brought, and decide what becomes of its trial."""
        try:
            result: SegmentResult = future.result()
        except WorkerLostError as error:
            self._spend(running, "lost", None)
            self._lost(running, str(error))
        except InfeasibleError as error:
            self._spend(running, "error", None)
            self._end(running, TrialState.PRUNED, reason=f"infeasible: {error}")
        except (UserError, TaskFailedError) as error:
            self._spend(running, "error", None)
            self._failed(running, error)
        else:
            self._spend(running, "interrupted" if result.interrupted else "done", result)
            self._advance(running, result)

    def _advance(self, running: Running, result: SegmentResult) -> None:
        self.failures = 0
        if result.interrupted:
            self.mirror.changed(self._record(running, state="INTERRUPTED"))
            return
        self._report(running, result)
        if result.finished and (missing := missing_objectives(self.spec, result.scores)):
            self._end(running, TrialState.PRUNED, reason=f"infeasible: {missing} is undefined here", result=result)
        elif result.finished:
            self._end(running, TrialState.COMPLETE, values=values_of(self.spec, result.scores), result=result)
        elif self.schedule.decide(running.trial) is Decision.STOP:
            self._end(running, TrialState.PRUNED, reason="pruned: behind the others", result=result)
        elif self._stopping:
            self.mirror.changed(self._record(running, state="INTERRUPTED"))
        else:
            running.at, running.attempt = running.at + 1, 1
            self._submit(running)

    def _report(self, running: Running, result: SegmentResult) -> None:
        """Tell Optuna the score of this stage, once: Optuna keeps the first report of a step and warns at a second."""
        step = running.stages[running.at].examples
        if len(self.spec.objective) > 1 or missing_objectives(self.spec, result.scores):  # costs come at the end only
            running.trial.set_user_attr("examples", step)
        elif step not in _intermediate(running.trial):
            running.trial.report(values_of(self.spec, result.scores)[0], step)

    def _lost(self, running: Running, cause: str) -> None:
        if running.attempt >= _ATTEMPTS:
            self._failed(running, WorkerLostError(f"{cause}, {_ATTEMPTS} times in a row"))
        elif self._stopping:
            self.mirror.changed(self._record(running, state="INTERRUPTED"))
        else:
            running.attempt += 1
            self._submit(running)

    def _failed(self, running: Running, error: Exception) -> None:
        reason = str(error).partition("\n")[0]
        (self.places.trial(self.spec.name, running.trial.number) / "error.txt").write_text(str(error))
        self._end(running, TrialState.FAIL, reason=f"{_kind(error)}: {reason}")
        self.failures += 1
        if self.failures >= _FAILURES:
            if isinstance(error, TaskFailedError):
                raise error  # a bug of ours: it keeps its traceback
            kind = type(error) if isinstance(error, UserError) else ConfigError
            raise kind(f"{_FAILURES} trials in a row failed, the last one with: {reason}")

    def _end(
        self,
        running: Running,
        state: TrialState,
        *,
        values: list[float] | None = None,
        reason: str | None = None,
        result: SegmentResult | None = None,
    ) -> None:
        """Finish a trial in its record, then in Optuna, then free its disk.

        The record comes first: after a crash in between, Optuna still says RUNNING, and the trial is taken up again.
        """
        if reason or "reason" in running.trial.user_attrs:
            running.trial.set_user_attr("reason", reason)
        directory = self._record(running, state=state.name, reason=reason, values=values, result=result)
        self.study.tell(running.trial, values, state=state, skip_if_finished=True)
        self.mirror.changed(directory)
        self._free_disk([running.trial])

    def _record(
        self,
        running: Running,
        *,
        state: str,
        reason: str | None = None,
        values: list[float] | None = None,
        result: SegmentResult | None = None,
    ) -> Path:
        """Write the trial's record; returns its directory."""
        directory = self.places.trial(self.spec.name, running.trial.number)
        write_record(
            directory,
            study=self.spec,
            number=running.trial.number,
            config=running.config,
            state=state,
            reason=reason,
            values=values,
            scores=result.scores if result else {},
            seconds=self.ledger.trial_seconds(self.spec.name, running.trial.number),
            predicted=planned_seconds(running.config, self.prospect),
        )
        return directory

    def _spend(self, running: Running, outcome: str, result: SegmentResult | None) -> None:
        now, seconds = time.monotonic(), result.seconds if result else {}
        self.useful += seconds.get("train", 0.0) + seconds.get("evaluate", 0.0)
        self.ledger.add_segment(
            study=self.spec.name,
            trial=running.trial.number,
            attempt=running.attempt,
            step=result.step if result else 0,
            outcome=outcome,
            wall=now - running.submitted,
            seconds=seconds,
        )

    def _free_disk(self, ended: Sequence[BaseTrial]) -> None:
        """A finished trial needs no checkpoints, and only the best trial's model can still be registered."""
        for one in ended:
            shutil.rmtree(self.places.trial(self.spec.name, one.number) / "checkpoints", ignore_errors=True)
        before, best = self._best, best_trial(self.study)
        self._best = best.number if best else None
        for number in {before, *(one.number for one in ended)} - {None, self._best}:
            shutil.rmtree(self.places.trial(self.spec.name, number or 0) / "model", ignore_errors=True)

    def _count_time(self) -> None:
        if time.monotonic() - self._counted > _BEAT_SECONDS:
            now = time.monotonic()
            self.seconds = self.ledger.add_seconds(self.spec.name, now - self._counted)
            self._counted = now

    def _wind_down(self, reason: str) -> str:
        """Stop what runs at the next step boundary. When the budget is spent, what is unfinished is PRUNED."""
        self._stopping = True
        self.executor.stop()
        while self.running:
            self._wait()
        for trial in [] if self.stopped_on_request else self._unfinished():
            if (running := self._plan(optuna.Trial(self.study, trial._trial_id))) is not None:
                self._end(running, TrialState.PRUNED, reason=f"budget: {reason}")
        self.ledger.add_seconds(self.spec.name, time.monotonic() - self._counted)
        return reason


def _intermediate(trial: optuna.Trial) -> dict[int, float]:
    """What a trial has reported so far, by training examples."""
    return dict(trial.study._storage.get_trial(trial._trial_id).intermediate_values)


def _kind(error: Exception) -> str:
    return {WorkerLostError: "worker lost", TaskFailedError: "error"}.get(type(error), type(error).__name__)
