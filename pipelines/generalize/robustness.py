"""How a model takes texts that are written otherwise, and sentences whose answer is known."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.compare import flips, matched_interval
from pipelines.generalize.changes import CHANGES, Change, changed
from pipelines.generalize.checks import Case, Check, Direction, cases_of, class_of
from pipelines.generalize.elsewhere import some
from pipelines.generalize.shift import Estimate
from pipelines.predictions import Predictions

SEED = 0
_EXAMPLES = 3

Ask = Callable[[Sequence[str]], NDArray[np.float64]]
"""A model's probabilities for texts, (texts, classes)."""


@dataclass(frozen=True)
class Changed:
    """What one change did. Only texts that it alters count."""

    name: str
    about: str
    keeps: bool
    """Whether the answer should stay."""
    rows: int
    flips: Estimate
    """Share of the answers that became others, 0 to 1."""
    before: float
    """Accuracy on these rows as they are."""
    after: float
    """The same of the changed texts, by the labels of the rows as they are."""
    difference: Estimate
    """After less before."""


@dataclass(frozen=True)
class Checked:
    """What became of one check."""

    name: str
    kind: str
    about: str
    cases: int
    failed: int
    failures: Estimate
    """Share of the cases that failed, 0 to 1."""
    examples: tuple[dict[str, str | None], ...]
    """The first that failed: `text`, `other`, `what` the model said."""


@dataclass(frozen=True)
class Robustness:
    """Changes and checks of one model."""

    name: str
    """What the rows are."""
    key: str
    """Names them in MLflow."""
    rows: int
    seed: int
    changes: tuple[Changed, ...]
    checks: tuple[Checked, ...]

    def verdict(self) -> str:
        """In one sentence."""
        kept = [one for one in self.changes if one.keeps]
        if not kept:
            return f"{self.name}: no change alters these texts"
        worst = max(kept, key=lambda one: one.flips.value)
        text = f"{self.name}: the answer flips most often under {worst.name} ({100 * worst.flips.value:.1f} % of texts)"
        failed = sum(one.failed > 0 for one in self.checks)
        have = "has" if failed == 1 else "have"
        return f"{text}; {failed} of {len(self.checks)} checks {have} failures" if self.checks else text

    def metrics(self) -> dict[str, float]:
        """By name: flips and accuracy of each change, failures of each check."""
        found: dict[str, float] = {}
        for one in self.changes:
            key = one.name.replace(" ", "_")
            found |= {f"{key}.flips": one.flips.value, f"{key}.accuracy": one.after}
            found[f"{key}.difference"] = one.difference.value
        return found | {f"check.{_metric_name(one.name)}.failures": one.failures.value for one in self.checks}

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {**asdict(self), "verdict": self.verdict()}


def judge_robustness(
    predictions: Predictions, ask: Ask, *, name: str, key: str, checks: Sequence[Check], seed: int = SEED
) -> Robustness:
    """Change the texts of rows that a model has answered, ask it again, and put the checks to it.

    Raises `ConfigError` for a check of a class that the model does not have.
    """
    targets = [class_of(check, predictions.names) for check in checks]
    found = [_check(check, target, predictions, ask=ask) for check, target in zip(checks, targets, strict=True)]
    measured = [_change(change, predictions, ask, seed=seed) for change in CHANGES]
    changes = tuple(one for one in measured if one is not None)
    return Robustness(name, key, len(predictions.labels), seed, changes, tuple(found))


def _change(change: Change, predictions: Predictions, ask: Ask, *, seed: int) -> Changed | None:
    """What a change does to the rows; None where it alters none."""
    texts = [changed(text, change, seed=seed) for text in predictions.texts]
    altered = np.array([new != old for new, old in zip(texts, predictions.texts, strict=True)], dtype=np.bool_)
    if not altered.any():
        return None
    before = some(predictions, altered)
    now = [text for text, is_new in zip(texts, altered.tolist(), strict=True) if is_new]
    after = replace(before, texts=now, probabilities=ask(now))
    rows, moved = len(before.labels), flips(before.labels, before.weighed, after.weighed)
    won, lost = len(moved.won), len(moved.lost)
    low, high = matched_interval(won, lost, rows)
    return Changed(
        change.name,
        change.about,
        change.keeps,
        rows,
        flips=share(int((before.predicted != after.predicted).sum()), rows),
        before=float(before.correct.mean()),
        after=float(after.correct.mean()),
        difference=Estimate((won - lost) / rows, low=float(low), high=float(high)),
    )


def _check(check: Check, target: int | None, like: Predictions, *, ask: Ask) -> Checked:
    cases = cases_of(check)
    ours, theirs = _answers([case.text for case in cases], like, ask=ask), None
    if others := [case.other for case in cases if case.other is not None]:
        theirs = _answers(others, like, ask=ask)
    if theirs is None:
        failed = ours.predicted != target
    elif isinstance(check, Direction):
        failed = theirs.probabilities[:, target] < ours.probabilities[:, target] - check.tolerance
    else:
        failed = theirs.predicted != ours.predicted
    examples = [_example(cases[row], ours, theirs, row=row) for row in np.flatnonzero(failed)[:_EXAMPLES].tolist()]
    count = int(failed.sum())
    return Checked(check.name, check.kind, check.about, len(cases), count, share(count, len(cases)), tuple(examples))


def _answers(texts: Sequence[str], like: Predictions, *, ask: Ask) -> Predictions:
    """What the model says of sentences; their labels are not known, and not looked at."""
    labels = np.zeros(len(texts), dtype=np.int64)
    return replace(
        like, ids=[str(row) for row in range(len(texts))], texts=texts, labels=labels, probabilities=ask(texts)
    )


def _example(case: Case, ours: Predictions, theirs: Predictions | None, *, row: int) -> dict[str, str | None]:
    said = [f"{one.names[one.predicted[row]]} ({one.confidence[row]:.0%})" for one in (ours, theirs) if one]
    return {"text": case.text, "other": case.other, "what": " → ".join(said)}


def share(count: int, rows: int) -> Estimate:
    """A share with Wilson's 95 % interval (Wilson 1927), which holds for few rows and near 0 and 1."""
    from scipy.stats import binomtest

    interval = binomtest(count, rows).proportion_ci(method="wilson")
    return Estimate(count / rows, low=float(interval.low), high=float(interval.high))


def _metric_name(name: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in name)
