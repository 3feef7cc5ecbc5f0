"""After the search: baselines, and the finalists trained anew, so that the winner is better and not just luckier.

The best of many trials is partly the best configuration and partly the luckiest training. So the trials that the select
rows cannot tell from the best one, and the known-good default, are trained again with fresh seeds and compared in pairs
on the same rows, until the decision is clear or the share of the budget is used up. The first fresh training of the
winner is what the study delivers: nobody has chosen it for its score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpo.budget import Progress, used_up
from hpo.errands import Errand, Errands
from hpo.estimate import makespan
from hpo.finalists import Verdict, choose_finalists, goodness, judge
from hpo.retraining import Candidate, Retraining, predictions_of
from hpo.scheduling import begins_with_defaults
from hpo.selection import DEFAULT, Rival, Selection, contestants_of, reason_of, rivals_of, score_of
from hpo.storage import own_trials, ranked
from hpo.study import Controller
from pipelines.config import RunConfig
from pipelines.files import read_json, remove
from pipelines.predictions import Predictions, read_parquet
from pipelines.scores import METRICS
from pipelines.segment import BaselineJob

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


Fresh = dict[int, list[Predictions]]
"""Predictions of each contestant's rounds of fresh trainings, by its trial's number."""


@dataclass(frozen=True, eq=False)
class _Delivered:
    """What the study delivers."""

    name: str
    """Of its directory."""
    predictions: Predictions
    averaged: int = 0
    """Trainings whose weights it is the mean of; 0 for a training by itself."""


class _Stage:
    """The decision of one study."""

    def __init__(self, controller: Controller) -> None:
        self._controller, self._spec = controller, controller.spec
        self._home = controller.places.study(self._spec.name)
        metrics = [objective.metric for objective in self._spec.objective]
        self._metric = next((metric for metric in metrics if metric in METRICS), "accuracy")
        self._defaults = len(self._spec.models) if begins_with_defaults(self._spec) else 0
        self._errands = Errands(controller, over=self._is_out_of_budget)
        self._retraining = Retraining(controller, self._errands)
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
        delivered = None
        if verdict is not None:
            delivered = self._delivered(self.candidates[verdict.winner], len(fresh[verdict.winner]))
        if self._controller.stopped_on_request:
            return None
        if verdict is None or delivered is None:
            return self._unconfirmed(baselines, reason or _LEFT_OUT)
        return self._confirmed(fresh, verdict, delivered, baselines=baselines)

    def free_disk(self, selection: Selection) -> None:
        """Only what is delivered keeps its model."""
        for directory in self._home.glob("confirm-*-*"):
            remove(directory / "checkpoints")
            if directory.name != selection.name:
                remove(directory / "model")
                remove(directory / "final")
        for dealt in self._home.glob("data-*-*"):
            remove(dealt)

    def _candidate(self, number: int, value: float) -> Candidate:
        directory = self._controller.trials.directory(number)
        record = read_json(directory / "trial.json")
        config = RunConfig.model_validate(read_json(directory / "artifacts" / "config.json"))
        return Candidate(
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

    def _rounds(self, contestants: Sequence[Candidate]) -> tuple[Fresh, Verdict | None]:
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
            self._seen += self._examples(contestants)
            for trial, predictions in done.items():
                fresh[trial].append(predictions)
            verdict = self._judge(fresh)
            contestants = [self.candidates[trial] for trial in verdict.open]
        return fresh, verdict

    def _round(self, contestants: Sequence[Candidate], number: int) -> dict[int, Predictions]:
        """One fresh training of each, without those that failed; nothing where it was stopped or time ran out."""
        done = self._retraining.round(contestants, number)
        if len(done) < len(contestants) and (self._controller.stopped_on_request or self._is_out_of_budget()):
            return {}
        return done

    def _judge(self, fresh: Fresh) -> Verdict:
        there = [self.candidates[trial] for trial, found in fresh.items() if found]
        return judge(
            self._metric,
            fresh[there[0].number][0].labels,
            {one.number: np.stack([each.probabilities for each in fresh[one.number]]) for one in there},
            simplest=[one.number for one in sorted(there, key=self._complexity)],
            prefer=self._spec.confirm.prefer,
        )

    def _complexity(self, one: Candidate) -> tuple[float, ...]:
        """Fewer weights, shorter inputs, the default, less training: then the earlier trial."""
        no_default = one.number >= self._defaults
        return one.parameters, one.config.tokens.max_length, no_default, one.examples, one.number

    def _affords(self, contestants: Sequence[Candidate], number: int) -> bool:
        """Whether round `number` lies within the confirmation's share of the search, and the study's limits."""
        examples = self._seen + self._examples(contestants)
        return examples <= self._spec.confirm.share * self._searched and self._fits(contestants, number)

    def _fits(self, contestants: Sequence[Candidate], number: int) -> bool:
        """Whether round `number` fits into what is left of the study's limits; what is on disk takes nothing."""
        missing = [one for one in contestants for _ in range(self._retraining.missing(one, number))]
        now, executor = self._controller.meter.progress(finished=0), self._controller.executor
        hours = makespan([one.seconds for one in missing], executor.slots) / 3600
        after = Progress(
            finished=0,
            minutes=now.minutes + 60 * hours,
            examples=now.examples + self._seen + sum(one.examples for one in missing),
            device_hours=now.device_hours + hours * executor.devices,
        )
        return not missing or used_up(self._spec.budget, after) is None

    def _examples(self, contestants: Sequence[Candidate]) -> int:
        """That one round takes; with folds the training rows of each are about as many as the study's."""
        return self._retraining.folds * sum(one.examples for one in contestants)

    def _is_out_of_budget(self) -> bool:
        return used_up(self._spec.budget, self._controller.meter.progress(finished=0)) is not None

    def _baselines(self) -> dict[str, Predictions]:
        """What each baseline says of the select rows."""
        errands = {name: self._baseline(name) for name in BASELINES}
        done = self._errands.do(errands.values())
        return {name: predictions_of(errand.directory) for name, errand in errands.items() if errand.name in done}

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
        rivals = rivals_of(best.predictions, others, metric=self._metric)
        return self._selection(best, name, best.predictions, rivals=rivals, confirmed=False, why=why)

    def _confirmed(
        self, fresh: Fresh, verdict: Verdict, delivered: "_Delivered", *, baselines: Mapping[str, Predictions]
    ) -> Selection:
        winner, default, folds = self.candidates[verdict.winner], self._default(), self._retraining.folds
        rivals = rivals_of(delivered.predictions, baselines, metric=self._metric)
        if default not in {winner.number, None} and fresh.get(default):
            ours = delivered.predictions if folds == 1 else fresh[winner.number][0]
            rivals += rivals_of(ours, {DEFAULT: fresh[default][0]}, metric=self._metric)
        trainings = {number: folds * len(found) for number, found in fresh.items()}
        selection = self._selection(
            winner,
            delivered.name,
            delivered.predictions,
            rivals=rivals,
            confirmed=True,
            averaged=delivered.averaged,
            why=reason_of(verdict, defaults=self._defaults),
            contestants=contestants_of(verdict, trainings, defaults=self._defaults),
        )
        if folds == 1:
            return selection
        return replace(selection, folds=folds, judged_rows=len(fresh[winner.number][0].labels))

    def _delivered(self, winner: Candidate, rounds: int) -> "_Delivered | None":
        """The winner's first fresh training or, where the spec wants it and it is better, the mean of all; or neither
        where that was stopped."""
        predictions = self._retraining.deliver(winner)
        if predictions is None:
            return None
        first = _Delivered(self._retraining.delivered(winner).name, predictions)
        if not self._spec.confirm.average or rounds < 2:
            return first
        mean = self._retraining.averaged(winner, rounds)
        if mean is None or self._goodness(mean) <= self._goodness(predictions):
            return first
        mean = self._retraining.averaged(winner, rounds, with_model=True)
        return first if mean is None else _Delivered(self._retraining.average(winner, rounds).name, mean, rounds)

    def _goodness(self, predictions: Predictions) -> float:
        return goodness(self._metric, score_of(predictions, metric=self._metric).value)

    def _selection(
        self, winner: Candidate, name: str, delivered: Predictions, *, rivals: tuple[Rival, ...], **more: Any
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
            rivals=rivals,
            **more,
        )
