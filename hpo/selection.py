"""What a study delivers, and the evidence for it: plain values, for promotion, reports and people."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpo.finalists import LEVEL, Verdict
from pipelines.compare import Measured, compare_metric, measure_metric
from pipelines.files import read_json, write_json
from pipelines.predictions import Predictions

FILE = "selection.json"
"""In the study's `report` directory."""
DEFAULT = "the known-good default"
_NAMES = {"majority": "the most frequent class", "tfidf": "logistic regression over TF-IDF"}


@dataclass(frozen=True)
class Contestant:
    """A configuration that was trained anew."""

    trial: int
    default: bool
    """It is the known-good default."""
    trainings: int
    """With fresh seeds."""
    score: float
    """The mean over them."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    difference: float | None
    """To the best mean, negative or positive as the metric has it; None for the best one itself."""
    p: float | None
    """How often chance alone would set the two so far apart."""
    apart: bool
    """It is worse than the best one, beyond chance."""


@dataclass(frozen=True)
class Rival:
    """What the delivered model is compared with, row by row: a baseline, or the known-good default."""

    name: str
    score: float
    difference: float
    """Of the delivered model less this one."""
    low: float
    """Lower end of the difference's 95 % interval."""
    high: float
    p: float
    """One-sided: how often a model that is no better would look so much better."""
    beaten: bool

    def in_words(self) -> str:
        """A sentence."""
        name = _NAMES.get(self.name, self.name)
        figures = f"{self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f}), p {self.p:.2g}"
        verdict = "better than" if self.beaten else "NOT better with confidence than"
        return f"{verdict} {name} ({self.score:.4f}): {figures}"


@dataclass(frozen=True)
class Selection:
    """The winner of a study."""

    trial: int
    name: str
    """Directory below the study's that holds its model: `confirm-00003-1`, or `trial-00003` where unconfirmed."""
    metric: str
    confirmed: bool
    """The model was trained anew after its configuration had been chosen, so its score is not the luckiest of many."""
    score: float
    """Of the delivered model on the select split."""
    low: float
    """Lower end of the score's 95 % interval over other rows."""
    high: float
    why: str
    """Why this one, in a sentence."""
    search_trial: int
    """The best trial of the search."""
    search_score: float
    """What it had there: the best of many, and therefore flattering."""
    rows: int
    """Of the select split."""
    folds: int = 1
    """Into which train and select rows were dealt to compare the contestants; 1: the select rows alone did."""
    averaged: int = 0
    """Fresh trainings whose mean weights the delivered model has; 0: it is the first of them."""
    judged_rows: int = 0
    """On which the contestants were compared, where there are folds."""
    contestants: tuple[Contestant, ...] = ()
    rivals: tuple[Rival, ...] = ()

    def in_words(self) -> Iterator[str]:
        """The evidence for a person, a line each."""
        interval = f"{self.metric} {self.score:.4f} (95 % {self.low:.4f} to {self.high:.4f}, {self.rows:,} select rows)"
        if self.confirmed:
            anew = "trained anew with a fresh seed"
            if self.averaged:
                anew = f"the mean weights of {self.averaged} fresh trainings"
            yield f"winner: trial {self.trial}, {anew}: {interval}; {self.why}"
            if found := [one for one in self.contestants if one.trial == self.trial and self.folds > 1]:
                yield (
                    f"the same configuration cross-validated in {self.folds} folds: {found[0].score:.4f} (95 % "
                    f"{found[0].low:.4f} to {found[0].high:.4f}, {self.judged_rows:,} train and select rows)"
                )
            yield f"best score of the search: {self.search_score:.4f} (trial {self.search_trial}; the luckiest of many)"
        else:
            yield f"winner: trial {self.trial}, NOT confirmed ({self.why}): {interval}, flattered by the search"
        for rival in self.rivals:
            yield rival.in_words()
        if any(one.default for one in self.contestants if one.trial == self.trial) and len(self.contestants) > 1:
            yield "no trial of the search beats the known-good default with confidence"

    def as_metrics(self) -> dict[str, float]:
        """The figures for the study's run; those that are not defined are left out."""
        name = f"{'confirmed' if self.confirmed else 'unconfirmed'}/{self.metric}"
        figures = {name: self.score, f"{name}.low": self.low, f"{name}.high": self.high}
        figures |= {f"baseline/{rival.name}": rival.score for rival in self.rivals if rival.name in _NAMES}
        return {key: value for key, value in figures.items() if math.isfinite(value)}

    def write(self, report: Path) -> None:
        """Keep it in a study's report directory."""
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / FILE, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return asdict(self)


def read_selection(report: Path) -> Selection | None:
    """What a study has delivered; None where it has not come so far."""
    found: dict[str, Any] | None = read_json(report / FILE)
    if found is None:
        return None
    contestants = tuple(Contestant(**one) for one in found.pop("contestants"))
    rivals = tuple(Rival(**one) for one in found.pop("rivals"))
    return Selection(**found, contestants=contestants, rivals=rivals)


def contestants_of(verdict: Verdict, trainings: Mapping[int, int], *, defaults: int) -> tuple[Contestant, ...]:
    """The verdict's contestants, the best mean first; trials below `defaults` are known-good defaults."""
    order = sorted(verdict.measured, key=lambda number: (number not in verdict.open, number != verdict.leader, number))
    found = []
    for number in order:
        measured, behind = verdict.measured[number], verdict.behind.get(number)
        found.append(
            Contestant(
                trial=number,
                default=number < defaults,
                trainings=trainings[number],
                score=measured.value,
                low=measured.low,
                high=measured.high,
                difference=behind.difference if behind else None,
                p=behind.p if behind else None,
                apart=number not in verdict.open,
            )
        )
    return tuple(found)


def reason_of(verdict: Verdict, *, defaults: int) -> str:
    """Why the winner won, in a sentence."""
    if len(verdict.measured) == 1:
        return "there was nobody to compare it with"
    if verdict.clear:
        return "better than every other finalist"
    if verdict.winner == verdict.leader and verdict.winner >= defaults:
        return "the best mean of those that cannot be told apart: " + ", ".join(map(str, verdict.open))
    words = "the known-good default, " if verdict.winner < defaults else ""
    return f"{words}the simplest of trials that cannot be told apart: {', '.join(map(str, verdict.open))}"


def rival_of(name: str, delivered: Predictions, other: Predictions, *, metric: str) -> Rival | None:
    """The delivered model against another on the same rows; None where they do not define the metric."""
    found = compare_metric(metric, delivered.labels, other.probabilities, delivered.probabilities, alternative="better")
    if found is None:
        return None
    return Rival(name, found.a, found.difference, found.low, found.high, found.p, beaten=found.p <= LEVEL)


def rivals_of(delivered: Predictions, others: Mapping[str, Predictions], *, metric: str) -> tuple[Rival, ...]:
    """The same for several, by name."""
    found = (rival_of(name, delivered, other, metric=metric) for name, other in others.items())
    return tuple(one for one in found if one is not None)


def score_of(delivered: Predictions, *, metric: str) -> Measured:
    """The metric of what is delivered, with its interval; NaN where the rows do not define it."""
    found = measure_metric(metric, delivered.labels, delivered.probabilities)
    return found or Measured(metric, math.nan, low=math.nan, high=math.nan)
