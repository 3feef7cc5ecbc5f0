"""After the search: baselines, and the finalists trained anew, so that the winner is better and not just luckier.

The best of many trials is partly the best configuration and partly the luckiest training. So the trials that the select
rows cannot tell from the best one, and the known-good default, are trained again with fresh seeds and compared in pairs
on the same rows, until the decision is clear or the share of the budget is used up. The first fresh training of the
winner is what the study delivers: nobody has chosen it for its score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpo.budget import Progress, used_up
from hpo.errands import Errand, Errands, finished
from hpo.estimate import makespan
from hpo.finalists import Verdict, choose_finalists, judge
from hpo.scheduling import begins_with_defaults
from hpo.selection import DEFAULT, Selection, contestants_of, reason_of, rivals_of, score_of
from hpo.storage import own_trials, ranked
from hpo.study import Controller
from pipelines.config import RunConfig, flatten
from pipelines.files import digest, read_json, remove
from pipelines.predictions import Predictions, read_parquet
from pipelines.scores import METRICS
from pipelines.segment import BaselineJob, SegmentJob

BASELINES = ("majority", "tfidf")
_LEFT_OUT = "no fresh training came to its end"


def select_winner(controller: Controller) -> Selection | None:
    """Run what decides, and keep the evidence in the study's report; None when stopped, or when no trial is COMPLETE.

    What is on disk is not done again, so that the same command run again after a kill goes on where it was. Raises
    `StorageError`s.
    """
    stage = _Stage(controller)
    if not stage.candidates:
        return None
    selection = stage.run()
    if selection is not None:
        selection.write(controller.places.study(controller.spec.name) / "report")
        stage.free_disk(selection)
    return selection


def fresh_seed(seed: int, number: int) -> int:
    """The seed of all fresh trainings of round `number` (from 1) in a study whose trials have `seed`."""
    return int(digest("confirm", str(seed), str(number))[:7], 16)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A COMPLETE trial as the confirmation sees it."""

    number: int
    config: RunConfig
    predictions: Predictions
    """Of its training in the search."""
    value: float
    """Its first objective there."""
    parameters: float
    seconds: float
    """That its training took."""
    examples: int
    """That it sees in one training."""


Fresh = dict[int, list[Predictions]]
"""Predictions of each contestant's fresh trainings, by its trial's number."""


class _Stage:
    """The decision of one study."""

    def __init__(self, controller: Controller) -> None:
        self._controller, self._spec = controller, controller.spec
        self._home = controller.places.study(self._spec.name)
        metrics = [objective.metric for objective in self._spec.objective]
        self._metric = next((metric for metric in metrics if metric in METRICS), "accuracy")
        self._defaults = len(self._spec.models) if begins_with_defaults(self._spec) else 0
        self._errands = Errands(controller, over=self._is_out_of_budget)
        self._searched = sum(controller.meter.examples.values())
        self._seen = 0  # training examples of the fresh trainings
        trials = ranked(controller.study, own_trials(controller.study))
        self.candidates = {trial.number: self._candidate(trial.number, trial.values[0]) for trial in trials}
        """The COMPLETE trials by number, the best first."""

    def run(self) -> Selection | None:
        """The winner with its evidence; None when this was stopped."""
        finalists, reason = self._finalists()
        fresh, verdict = self._rounds([self.candidates[number] for number in finalists])
        baselines = self._baselines()
        if verdict is not None:
            self._restore(self.candidates[verdict.winner])
        if self._controller.stopped_on_request:
            return None
        if verdict is None:
            return self._unconfirmed(baselines, reason or _LEFT_OUT)
        return self._confirmed(fresh, verdict, baselines)

    def free_disk(self, selection: Selection) -> None:
        """Only what is delivered keeps its model."""
        for directory in self._home.glob("confirm-*-*"):
            remove(directory / "checkpoints")
            if directory.name != selection.name:
                remove(directory / "model")
                remove(directory / "final")

    def _candidate(self, number: int, value: float) -> _Candidate:
        directory = self._controller.trials.directory(number)
        record = read_json(directory / "trial.json")
        config = RunConfig.model_validate(read_json(directory / "artifacts" / "config.json"))
        return _Candidate(
            number,
            config,
            read_parquet(directory / "artifacts" / "predictions.parquet"),
            value,
            parameters=record["scores"].get("parameters", 0.0),
            seconds=sum(record["seconds"].get(kind, 0.0) for kind in ("prepare", "train", "evaluate", "finish")),
            examples=round(config.train.epochs * self._controller.rows),
        )

    def _finalists(self) -> tuple[list[int], str]:
        """Whom to train anew, the best first and the default second; or nobody, and why."""
        wanted, first = self._spec.confirm.finalists, self._spec.objective[0].metric
        if not wanted:
            return [], "confirm.finalists is 0"
        if first not in METRICS:
            return [], f"{first} is a cost, which no luck can flatter"
        predictions = {number: one.predictions for number, one in self.candidates.items()}
        best, *others = choose_finalists(self._metric, predictions, ranked=[*predictions], most=wanted)
        default = self._default()
        found = [best, *([] if default in {best, None} else [default]), *(one for one in others if one != default)]
        while found and not self._fits([self.candidates[number] for number in found], 1):
            found.pop()
        return found, "" if found else "no time is left for it"

    def _default(self) -> int | None:
        """The known-good default of the best trial's model; that of the first model where it was not trained."""
        best = next(iter(self.candidates.values()))
        own = self._spec.models.index(best.config.model.name)
        return next((number for number in (own, 0) if number < self._defaults and number in self.candidates), None)

    def _rounds(self, contestants: Sequence[_Candidate]) -> tuple[Fresh, Verdict | None]:
        """Fresh trainings, round by round, until the decision is clear or the share is used up."""
        fresh: Fresh = {one.number: [] for one in contestants}
        verdict = None
        for number in range(1, self._spec.confirm.seeds + 1):
            if not contestants or (verdict is not None and (verdict.clear or not self._affords(contestants, number))):
                break
            names = ", ".join(str(one.number) for one in contestants)
            self._controller.say(f"confirmation: trials {names} with fresh seed {number}")
            done = self._round(contestants, number)
            if not done:
                break
            self._seen += sum(one.examples for one in contestants)
            for trial, predictions in done.items():
                fresh[trial].append(predictions)
            verdict = self._judge(fresh)
            contestants = [self.candidates[trial] for trial in verdict.open]
        return fresh, verdict

    def _round(self, contestants: Sequence[_Candidate], number: int) -> dict[int, Predictions]:
        """One fresh training of each, without those that failed; nothing where it was stopped or time ran out."""
        errands = {one.number: self._errand(one, number) for one in contestants}
        done = self._errands.do(errands.values())
        if len(done) < len(errands) and (self._controller.stopped_on_request or self._is_out_of_budget()):
            return {}
        return {trial: _predictions(errand.directory) for trial, errand in errands.items() if errand.name in done}

    def _judge(self, fresh: Fresh) -> Verdict:
        there = [self.candidates[trial] for trial, found in fresh.items() if found]
        return judge(
            self._metric,
            there[0].predictions.labels,
            {one.number: np.stack([each.probabilities for each in fresh[one.number]]) for one in there},
            simplest=[one.number for one in sorted(there, key=self._complexity)],
            prefer=self._spec.confirm.prefer,
        )

    def _complexity(self, one: _Candidate) -> tuple[float, ...]:
        """Fewer weights, shorter inputs, the default, less training: then the earlier trial."""
        no_default = one.number >= self._defaults
        return one.parameters, one.config.tokens.max_length, no_default, one.examples, one.number

    def _affords(self, contestants: Sequence[_Candidate], number: int) -> bool:
        """Whether round `number` lies within the confirmation's share of the search, and the study's limits."""
        examples = self._seen + sum(one.examples for one in contestants)
        return examples <= self._spec.confirm.share * self._searched and self._fits(contestants, number)

    def _fits(self, contestants: Sequence[_Candidate], number: int) -> bool:
        """Whether round `number` fits into what is left of the study's limits; what is on disk takes nothing."""
        missing = [one for one in contestants if finished(self._errand(one, number)) is None]
        now, executor = self._controller.meter.progress(finished=0), self._controller.executor
        hours = makespan([one.seconds for one in missing], executor.slots) / 3600
        after = Progress(
            finished=0,
            minutes=now.minutes + 60 * hours,
            examples=now.examples + self._seen + sum(one.examples for one in missing),
            device_hours=now.device_hours + hours * executor.devices,
        )
        return not missing or used_up(self._spec.budget, after) is None

    def _is_out_of_budget(self) -> bool:
        return used_up(self._spec.budget, self._controller.meter.progress(finished=0)) is not None

    def _errand(self, one: _Candidate, number: int) -> Errand:
        """The training of a configuration with fresh seed `number`."""
        directory = self._home / f"confirm-{one.number:05d}-{number}"
        config = one.config.model_copy(update={"seed": fresh_seed(self._spec.run.seed, number)})
        stages = self._controller.schedule.stages(config, number=one.number, rows=self._controller.rows)
        jobs = tuple(
            SegmentJob(
                trial=f"{self._spec.name}/{directory.name}",
                config=config,
                data=self._home / "data",
                directory=directory,
                cache=self._controller.places.cache / "encoded",
                until=stage.until,
            )
            for stage in (stages if config.train.early_stopping else stages[-1:])
        )
        about = f"Trial {one.number} of study {self._spec.name}, trained anew with fresh seed {number}"
        params = flatten(config.model_dump()) | {"confirms": one.number}
        return Errand(directory, "confirmation", about, params, self._controller.task, jobs)

    def _restore(self, winner: _Candidate) -> None:
        """Train the winner's first fresh training once more where an earlier decision has removed its model."""
        errand = self._errand(winner, 1)
        if not (errand.directory / "model").is_dir():
            remove(errand.directory)
            self._errands.do([replace(errand, urgent=True)])  # what is delivered must be there, time or no time

    def _baselines(self) -> dict[str, Predictions]:
        """What each baseline says of the select rows."""
        errands = {name: self._baseline(name) for name in BASELINES}
        done = self._errands.do(errands.values())
        return {name: _predictions(errand.directory) for name, errand in errands.items() if errand.name in done}

    def _baseline(self, name: str) -> Errand:
        directory = self._home / f"baseline-{name}"
        job = BaselineJob(name, self._home / "data", directory)
        about = f"What every model of study {self._spec.name} must beat: {name}"
        task = "pipelines.baseline:train_baseline"
        return Errand(directory, "baseline", about, {"baseline": name}, task, (job,), urgent=True)

    def _unconfirmed(self, baselines: Mapping[str, Predictions], why: str) -> Selection:
        best, default, others = next(iter(self.candidates.values())), self._default(), dict(baselines)
        if default not in {best.number, None}:
            others[DEFAULT] = self.candidates[default].predictions
        name = self._controller.trials.directory(best.number).name
        return self._selection(best, name, best.predictions, others=others, confirmed=False, why=why)

    def _confirmed(self, fresh: Fresh, verdict: Verdict, baselines: Mapping[str, Predictions]) -> Selection:
        winner, default, others = self.candidates[verdict.winner], self._default(), dict(baselines)
        if default not in {winner.number, None} and fresh.get(default):
            others[DEFAULT] = fresh[default][0]
        trainings = {number: len(found) for number, found in fresh.items()}
        return self._selection(
            winner,
            self._errand(winner, 1).directory.name,
            fresh[winner.number][0],
            others=others,
            confirmed=True,
            why=reason_of(verdict, defaults=self._defaults),
            contestants=contestants_of(verdict, trainings, defaults=self._defaults),
        )

    def _selection(
        self, winner: _Candidate, name: str, delivered: Predictions, *, others: Mapping[str, Predictions], **more: Any
    ) -> Selection:
        best, measured = next(iter(self.candidates.values())), score_of(delivered, metric=self._metric)
        return Selection(
            trial=winner.number,
            name=name,
            metric=self._metric,
            score=measured.value,
            low=measured.low,
            high=measured.high,
            search_trial=best.number,
            search_score=best.value,
            rows=len(delivered.labels),
            rivals=rivals_of(delivered, others, metric=self._metric),
            **more,
        )


def _predictions(directory: Path) -> Predictions:
    return read_parquet(directory / "artifacts" / "predictions.parquet")
