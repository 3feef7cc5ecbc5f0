"""Calibration of a winner on rows that neither its training nor its choice has seen: a temperature, and thresholds.

What is fitted must also help rows that it was not fitted to, in five folds; else all stays as it is. The figures of
`CalibrationFacts` are those of the folds, so they are not flattered by the fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.predictions import Predictions, softmax
from pipelines.scores import score
from pipelines.weighted import COUNTED

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MIN_ROWS = 50
"""Fewer calibrate rows tell nothing apart from chance."""
_FOLDS = 5
_HOTTEST = 10.0  # temperatures from 1/10 to 10; an optimum at the edge is none
_WEIGHTS = 2.0 ** (np.arange(-40, 41) / 8)  # of a class's threshold: 1/32 to 32; coarse, so that few rows decide little
_SWEEPS = 10  # over the classes; two or three settle it


@dataclass(frozen=True)
class CalibrationFacts:
    """What was fitted on the calibrate rows, and what it brought."""

    rows: int
    temperature: float = 1.0
    """The logits are divided by it; above 1 the model is less sure of itself than it was (Guo et al. 2017)."""
    thresholds: tuple[float, ...] | None = None
    """(classes,) of sum 1: the class with the largest probability / threshold is the answer. Of two classes, the second
    one's is the probability from which on it is answered. None: the most probable class is."""
    metric: str | None = None
    """What the thresholds were to raise."""
    before: Mapping[str, float] = field(default_factory=dict)
    """`log_loss`, `ece` and `metric` of the calibrate rows; empty where nothing was fitted."""
    after: Mapping[str, float] = field(default_factory=dict)
    """The same after calibration, of each fold by what was fitted to the others."""
    notes: tuple[str, ...] = ()
    """Why something was left as it is, one sentence each."""


def facts_from(values: Mapping[str, Any]) -> CalibrationFacts:
    """The facts of which `dataclasses.asdict`, and JSON, made these values."""
    thresholds = values["thresholds"]
    return CalibrationFacts(
        **{**values, "thresholds": thresholds and tuple(thresholds), "notes": tuple(values["notes"])}
    )


def calibrate(predictions: Predictions, *, temperature: bool = True, metric: str | None = None) -> CalibrationFacts:
    """Fit a temperature, and thresholds that raise `metric` (one of `weighted.COUNTED`; None for no thresholds)."""
    facts = CalibrationFacts(rows=len(predictions.labels), metric=metric)
    if reason := _too_little(predictions):
        return replace(facts, notes=(f"{reason}, so nothing was fitted.",))
    labels, folds = predictions.labels, _folds(predictions.labels)
    before = _scores(predictions, predictions.predicted, metric=metric)
    notes: list[str] = []
    if temperature:
        heat, apart = _temperature(predictions, folds, notes)
    else:
        heat, apart = 1.0, predictions.probabilities
    decided, thresholds = apart.argmax(axis=1), None
    if metric is not None:
        whole = tempered(predictions.probabilities, heat)
        decided, thresholds = _thresholds(labels, (whole, apart), folds, metric=metric, notes=notes)
    after = _scores(replace(predictions, probabilities=apart), decided, metric=metric)
    found = replace(facts, temperature=heat, thresholds=thresholds, before=before, after=after)
    return replace(found, notes=tuple(notes))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """The probabilities of logits that are divided by a temperature, (rows, classes)."""
    return probabilities if temperature == 1.0 else softmax(_logs(probabilities) / temperature)


def _logs(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)), dtype=np.float64)


def _too_little(predictions: Predictions) -> str | None:
    """Why these rows cannot tell how to calibrate; None where they can."""
    counts = np.bincount(predictions.labels, minlength=len(predictions.names))
    if counts.sum() < MIN_ROWS:
        return f"{counts.sum()} calibrate rows are fewer than {MIN_ROWS}"
    if not counts.all():
        return f"the class {predictions.names[int(counts.argmin())]} has no calibrate rows"
    return None


def _folds(labels: Labels) -> NDArray[np.int64]:
    """(rows,) the fold of each row, 0 to 4: the rows of each class take turns."""
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(len(rows)) % _FOLDS
    return folds


def _apart(folds: NDArray[np.int64], use: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Any], like: Any) -> Any:
    """An array like `like`, each fold's rows by `use(rows to fit to, rows of the fold)`."""
    result = np.empty_like(like)
    for fold in range(_FOLDS):
        held = folds == fold
        result[held] = use(~held, held)
    return result


def _scores(predictions: Predictions, decided: NDArray[np.integer], *, metric: str | None) -> dict[str, float]:
    scores = score(predictions)
    found = {name: scores[name] for name in ("log_loss", "ece")}
    return found if metric is None else found | {metric: _counted(predictions, decided, metric=metric)}


def _counted(predictions: Predictions, decided: NDArray[np.integer], *, metric: str) -> float:
    tables = _tables(predictions.labels, decided[None], classes=len(predictions.names))
    return float(COUNTED[metric](tables)[0])


def _tables(labels: Labels, decided: NDArray[np.integer], *, classes: int) -> Floats:
    """Confusion tables, (R, classes, classes), each of sum 1, of R decisions about the same rows, (R, rows)."""
    many = len(decided)
    cells = (np.arange(many)[:, None] * classes + labels) * classes + decided
    counts = np.bincount(cells.ravel(), minlength=many * classes**2)
    return counts.reshape(many, classes, classes) / len(labels)


# --- the temperature


def _temperature(predictions: Predictions, folds: NDArray[np.int64], notes: list[str]) -> tuple[float, Floats]:
    """The temperature, and the probabilities of each fold by that of the others; 1 where none helps."""
    labels, probabilities = predictions.labels, predictions.probabilities
    heat = fit_temperature(labels, probabilities)
    if not 1.01 / _HOTTEST < heat < _HOTTEST / 1.01:
        notes.append(f"These rows do not determine a temperature (the best one lies at the edge, {heat:g}).")
        return 1.0, probabilities

    def use(others: NDArray[np.bool_], held: NDArray[np.bool_]) -> Floats:
        return tempered(probabilities[held], fit_temperature(labels[others], probabilities[others]))

    apart: Floats = _apart(folds, use, probabilities)
    if not _log_loss(labels, _logs(apart)) < _log_loss(labels, _logs(probabilities)):
        notes.append("No temperature lowered the log loss of rows that it was not fitted to.")
        return 1.0, probabilities
    return heat, apart


def fit_temperature(labels: Labels, probabilities: Floats) -> float:
    """The temperature, 0.1 to 10, of the least log loss (Guo et al. 2017), to four digits: the same on any machine."""
    from scipy.optimize import minimize_scalar

    logs, edge = _logs(probabilities), np.log(_HOTTEST)
    found = minimize_scalar(
        lambda heat: _log_loss(labels, logs / np.exp(heat)),
        bounds=(-edge, edge),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(f"{np.exp(found.x):.4g}")


def _log_loss(labels: Labels, logits: Floats) -> float:
    from scipy.special import logsumexp

    return float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]))


# --- the thresholds


def _thresholds(
    labels: Labels, probabilities: tuple[Floats, Floats], folds: NDArray[np.int64], *, metric: str, notes: list[str]
) -> tuple[NDArray[np.int64], tuple[float, ...] | None]:
    """What is decided about each fold by thresholds of the others, and the thresholds of all; None where none help.

    The probabilities come twice: by the one temperature of all rows, and by that of the other folds.
    """
    whole, apart = probabilities
    plain = np.asarray(apart.argmax(axis=1), dtype=np.int64)

    def use(others: NDArray[np.bool_], held: NDArray[np.bool_]) -> NDArray[np.int64]:
        chosen = fit_thresholds(labels[others], apart[others], metric=metric)
        return np.asarray((apart[held] / chosen).argmax(axis=1), dtype=np.int64)

    decided: NDArray[np.int64] = _apart(folds, use, plain)
    values = COUNTED[metric](_tables(labels, np.stack([plain, decided]), classes=apart.shape[1]))
    chosen = fit_thresholds(labels, whole, metric=metric)
    if not values[1] > values[0] or np.ptp(chosen) == 0:
        notes.append(f"No thresholds raised {metric} of rows that they were not fitted to.")
        return plain, None
    return decided, tuple(chosen.tolist())


def fit_thresholds(labels: Labels, probabilities: Floats, *, metric: str) -> Floats:
    """Thresholds of sum 1, (classes,), that raise a metric: class by class in turn, until no change of one helps.

    Of equally good ones, those that change the least.
    """
    classes = probabilities.shape[1]
    weights = np.ones(classes)
    for _ in range(_SWEEPS):
        before = weights.copy()
        for index in range(classes) if classes > 2 else (1,):
            weights[index] = _best_weight(labels, probabilities, weights, index=index, metric=metric)
        if (weights == before).all():
            break
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _best_weight(labels: Labels, probabilities: Floats, weights: Floats, *, index: int, metric: str) -> float:
    """The best weight of one class's threshold while the others' stay."""
    shares = probabilities / weights
    shares[:, index] = -1.0
    rival, height = shares.argmax(axis=1), shares.max(axis=1)
    chosen = probabilities[:, index] > _WEIGHTS[:, None] * height
    values = COUNTED[metric](_tables(labels, np.where(chosen, index, rival), classes=len(weights)))
    distance = abs(np.log(_WEIGHTS / weights[index]))
    return float(_WEIGHTS[np.lexsort((distance, -values.round(12)))[0]])
