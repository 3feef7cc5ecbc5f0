"""A finished model on one external data set: scores, how much worse than at home, what it is sure of and wrong."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.baseline import words
from pipelines.compare import Difference, compare_metric
from pipelines.data import Dataset
from pipelines.generalize.answering import answers_on
from pipelines.generalize.external import External
from pipelines.generalize.seen import Home, Seen
from pipelines.generalize.shift import Shift, observed, shifts
from pipelines.predictions import Predictions, most_confident_mistakes
from pipelines.scores import score
from pipelines.segment import Watch

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier


@dataclass(frozen=True)
class Beside:
    """The model and logistic regression over TF-IDF, which learned from the same rows, on the same external rows."""

    same: float
    """Share of the rows that both answer alike, 0 to 1."""
    kappa: float | None
    """Their agreement beyond chance (Cohen 1960)."""
    accuracy: Difference
    """TF-IDF's (`a`) and the model's (`b`), and the paired difference."""


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Everything that was found on one data set."""

    external: External
    seen: Seen
    predictions: Predictions
    scores: Mapping[str, float]
    """Every score of the training report, by name."""
    shifts: tuple[Shift, ...]
    unseen: tuple[Shift, ...] | None
    """The same without the rows that the model has seen; None where there are none, or none is left."""
    home_rows: int
    """Locked test rows that it is compared with: those of the classes that the data set has. 0: none are kept."""
    beside: Beside | None
    """None where the study's data is not here."""
    rows_per_second: float
    """Rows that were answered in a second, tokenization included where it was not kept."""

    @property
    def key(self) -> str:
        """Names the data set in MLflow."""
        return self.external.key

    @property
    def by_measure(self) -> dict[str, Shift]:
        """The shifts by their measure's name."""
        return {one.measure: one for one in self.shifts}

    def shares(self) -> dict[str, dict[str, float]]:
        """By class, its share of the labels and of the answers, 0 to 1."""
        said, rows = self.predictions, len(self.predictions.labels)
        counts = [np.bincount(part, minlength=len(said.names)) / rows for part in (said.labels, said.predicted)]
        pairs = zip(said.names, *(part.tolist() for part in counts), strict=True)
        return {name: {"labels": true, "answers": answered} for name, true, answered in pairs}

    def verdict(self) -> str:
        """In one sentence."""
        one = self.by_measure["accuracy"]
        text = f"{self.key}: accuracy {one.there.value:.3f} ({one.there.low:.3f} to {one.there.high:.3f})"
        if one.worse is None or one.home is None:
            return f"{text}; no answers on its own test rows are kept to compare it with"
        points, low, high = (100 * value for value in (one.worse.value, one.worse.low, one.worse.high))
        if low <= 0 <= high:
            found = f"no difference from the {one.home.value:.3f} at home that these rows could show"
        else:
            found = f"{abs(points):.1f} points {'below' if points > 0 else 'above'} the {one.home.value:.3f} at home"
        return f"{text}, {found} ({-high:+.1f} to {-low:+.1f})"

    def remark(self) -> str | None:
        """What a lower accuracy comes from, where the scores tell."""
        accuracy, ranking = self.by_measure["accuracy"].worse, self.by_measure.get("auroc")
        if accuracy is None or accuracy.low <= 0 or ranking is None or ranking.worse is None or ranking.worse.low > 0:
            return None
        name, share = max(self.shares().items(), key=lambda one: one[1]["answers"] - one[1]["labels"])
        return (
            f"it ranks these texts no worse than those at home (AUROC {ranking.there.value:.3f}), and answers {name} "
            f"for {share['answers']:.0%} of them, where {share['labels']:.0%} are: its threshold does not fit here"
        )

    def as_json(self) -> dict[str, Any]:
        """Everything but the single rows, for programs."""
        dataset = self.external.dataset
        return {
            "name": dataset.name,
            "key": self.key,
            "source": dataset.source,
            "digest": dataset.digest,
            "rows": len(self.predictions.labels),
            "labels": dict(self.external.matched),
            "notes": list(dataset.notes),
            "verdict": self.verdict(),
            "remark": self.remark(),
            "scores": dict(self.scores),
            "home_rows": self.home_rows,
            "measures": [asdict(one) for one in self.shifts],
            "seen": {
                "exact": int(self.seen.exact.sum()),
                "near": int(self.seen.near.sum()),
                "basis": self.seen.basis,
                "examples": list(self.seen.examples),
            },
            "unseen": None if self.unseen is None else [asdict(one) for one in self.unseen],
            "shares": self.shares(),
            "beside_tfidf": self.beside and asdict(self.beside) | {"difference": self.beside.accuracy.difference},
            "mistakes": most_confident_mistakes(self.predictions, 20),
            "rows_per_second": self.rows_per_second,
        }


def judge_elsewhere(
    classifier: "Classifier",
    external: External,
    *,
    seen: Seen,
    at_home: Predictions | None,
    home: Home,
    cache: Path,
    watch: Watch,
) -> Elsewhere:
    """Test a model on an external data set.

    `at_home` is what it said of its own locked test rows when these were opened. Raises `ModelError` where the model
    cannot be used on these texts.
    """
    start = time.perf_counter()
    predictions = answers_on(classifier, external.dataset, cache=cache, watch=watch)
    seconds = time.perf_counter() - start
    own = None if at_home is None else _comparable(at_home, predictions)
    left = ~seen.rows
    parted = seen.rows.any() and left.any()
    return Elsewhere(
        external=external,
        seen=seen,
        predictions=predictions,
        scores=score(predictions),
        shifts=tuple(shifts(predictions, own)),
        unseen=tuple(shifts(some(predictions, left), own)) if parted else None,
        home_rows=0 if own is None else len(own.labels),
        beside=None if home.dataset is None else _beside(predictions, home.dataset),
        rows_per_second=len(predictions.labels) / max(seconds, 1e-9),
    )


def some(predictions: Predictions, rows: NDArray[np.bool_]) -> Predictions:
    """The predictions of some rows, (rows,) of booleans."""
    places = np.flatnonzero(rows)
    return replace(
        predictions,
        ids=[predictions.ids[row] for row in places.tolist()],
        texts=[predictions.texts[row] for row in places.tolist()],
        labels=predictions.labels[places],
        probabilities=predictions.probabilities[places],
    )


def _comparable(at_home: Predictions, there: Predictions) -> Predictions | None:
    """The answers at home, classes in the same order, on rows of the classes that there are; None without any."""
    order = [at_home.names.index(name) for name in there.names]
    place = np.argsort(order)
    thresholds = at_home.thresholds
    own = replace(
        at_home,
        names=there.names,
        labels=place[at_home.labels],
        probabilities=at_home.probabilities[:, order],
        thresholds=thresholds and tuple(thresholds[index] for index in order),
    )
    rows = np.isin(own.labels, np.unique(there.labels))
    return some(own, rows) if rows.any() else None


def _beside(predictions: Predictions, dataset: Dataset) -> Beside:
    said = _in_order(words(dataset, predictions.texts), dataset.labels, names=predictions.names)
    answers = np.asarray(said.argmax(axis=1), dtype=np.int64)
    # Agreement of two models is that of one with labels, where the other's answers are the labels.
    between = observed(replace(predictions, labels=answers))
    accuracy = compare_metric("accuracy", predictions.labels, said, predictions.weighed)
    if accuracy is None:
        raise ValueError("there are no rows to compare on")
    return Beside(float((answers == predictions.predicted).mean()), between.get("kappa"), accuracy)


def _in_order(probabilities: NDArray[np.float64], ours: Sequence[str], *, names: Sequence[str]) -> NDArray[np.float64]:
    return probabilities[:, [list(ours).index(name) for name in names]]
