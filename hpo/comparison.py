"""Two models that were scored on the same rows, side by side, from what is kept of them; nothing is run again."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.ledger import Ledger
from hpo.listing import one_trial, spec_of, storage_exists, trials
from hpo.places import Places
from hpo.storage import open_storage
from pipelines.compare import Difference, Flips, Slice, compare_metric, flips, slices
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.predictions import Predictions, read_parquet
from pipelines.scores import METRICS

LEVEL = 0.05
"""p values up to here are called a difference."""
_TRIAL = re.compile(r"^(?P<study>[^@/]+)/(?P<number>\d+)$")
_MODEL_URI = "models:/"  # as MLflow writes it; for a model that is called like a study


@dataclass(frozen=True, eq=False)
class Scored:
    """One side of the comparison."""

    reference: str
    """As the user named it."""
    study: str | None
    """The study that it comes from."""
    words: str
    """What it is."""
    predictions: Predictions
    """Those of the select split."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same rows, in the same order, with the same numbers for the classes."""

    a: Scored
    b: Scored
    objective: str
    """The metric that decides."""
    differences: tuple[Difference, ...]
    """The objective's first; those that the rows define."""
    flips: Flips
    slices: tuple[Slice, ...]

    def verdict(self) -> str:
        """Which one is better, in a sentence."""
        first = self.differences[0]
        figures = f"{first.metric} {first.a:.4f} against {first.b:.4f}, p {first.p:.3g} ({first.test})"
        name = {"a": "A", "b": "B", None: None}[better(first)]
        return f"{name} is better: {figures}" if name else f"no difference that these rows could show: {figures}"

    def examples(self, rows: NDArray[np.intp], most: int = 5) -> list[dict[str, str]]:
        """The first of some rows, in words: `id`, `label`, what `a` and `b` said, `text`."""
        ours, theirs = self.a.predictions, self.b.predictions
        return [
            {
                "id": ours.ids[row],
                "label": ours.names[ours.labels[row]],
                "a": ours.names[ours.predicted[row]],
                "b": theirs.names[theirs.predicted[row]],
                "text": ours.texts[row],
            }
            for row in rows[:most].tolist()
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        won, lost = self.flips.won, self.flips.lost
        return {
            **{side: {"reference": one.reference, "what": one.words} for side, one in (("a", self.a), ("b", self.b))},
            "split": "select",
            "rows": len(self.a.predictions.labels),
            "objective": self.objective,
            "better": better(self.differences[0]),
            "metrics": [
                asdict(one) | {"difference": one.difference, "better": better(one)} for one in self.differences
            ],
            "flips": {"won": len(won), "lost": len(lost)},
            "examples": {"won": self.examples(won), "lost": self.examples(lost)},
            "slices": [asdict(one) for one in self.slices],
        }


def better(difference: Difference) -> str | None:
    """`a`, `b`, or None where the rows show no difference."""
    if difference.p > LEVEL:
        return None
    return "b" if difference.gain > 0 else "a"


def compare_models(first: str, second: str, *, places: Places, resamples: int = 2000) -> Comparison:
    """Compare two trials (`STUDY/TRIAL`) or registered versions (`NAME`, `NAME@alias`, `NAME/version`).

    Raises `ConfigError` or `ModelError` where there is no such thing, `DataError` where no predictions are kept of it,
    or the two were scored on different rows.
    """
    a, b = find_scored(first, places=places), find_scored(second, places=places)
    b = replace(b, predictions=in_order_of(a, b))
    objective = objective_of(a, places)
    ours, theirs = a.predictions, b.predictions
    order = sorted(METRICS, key=lambda metric: metric != objective)
    found = (
        compare_metric(metric, ours.labels, ours.probabilities, theirs.probabilities, resamples=resamples)
        for metric in order
    )
    sides = ours.labels, ours.probabilities, theirs.probabilities
    return Comparison(
        a=a,
        b=b,
        objective=objective,
        differences=tuple(one for one in found if one is not None),
        flips=flips(*sides),
        slices=tuple(slices(*sides, names=ours.names, texts=ours.texts)),
    )


def find_scored(reference: str, *, places: Places) -> Scored:
    """What a reference means: a study's trial, where there is such a study, else a registered version."""
    names = _studies(places)
    match = _TRIAL.match(reference)
    if match and match["study"] in names:
        return _of_trial(reference, match["study"], int(match["number"]), places=places)
    try:
        return _of_version(reference, places=places)
    except ModelError as error:
        if reference in names:
            raise ConfigError(f"{reference} is a study: name one of its trials, for instance {reference}/0") from error
        raise ModelError(f"{error}; the studies are: {', '.join(names) or 'none'}") from error


def _studies(places: Places) -> list[str]:
    if not storage_exists(places):
        return []
    open_storage(places.storage)
    return [row.name for row in Ledger(places.storage).studies()]


def _of_trial(reference: str, study: str, number: int, *, places: Places) -> Scored:
    state = one_trial(places, study, number)["state"]
    if state != "COMPLETE":
        kept = [str(row["trial"]) for row in trials(places, study) if row["state"] == "COMPLETE"]
        raise DataError(
            f"{reference} is {state}: predictions are kept of COMPLETE trials; those are: {', '.join(kept) or 'none'}"
        )
    return kept_of(reference, study, number, places=places)


def kept_of(reference: str, study: str, number: int, *, places: Places) -> Scored:
    """What is kept of a complete trial. Raises `DataError` where nothing is."""
    path = places.trial(study, number) / "artifacts" / "predictions.parquet"
    if not path.is_file():
        raise DataError(f"{reference}: no predictions are stored ({path} is missing); name another trial")
    return Scored(reference, study, f"trial {number} of study {study}", read_parquet(path))


def _of_version(reference: str, *, places: Places) -> Scored:
    from pipelines import registry
    from pipelines.connection import connect

    client = connect(places.tracking)
    version = registry.find_version(client, reference.removeprefix(_MODEL_URI))
    study, trial = version.tags.get("hpo.study"), version.tags.get("hpo.trial")
    words = f"{version.name} version {version.version} (trial {trial} of study {study})"
    return Scored(reference, study, words, registry.select_predictions(client, version))


def in_order_of(a: Scored, b: Scored) -> Predictions:
    """B's predictions with rows and classes in A's order. Raises `DataError` where they are not of the same rows."""
    ours, theirs = a.predictions, b.predictions
    if set(ours.names) != set(theirs.names):
        raise DataError(f"{a.reference} knows the classes {list(ours.names)}, {b.reference} {list(theirs.names)}")
    our_keys, their_keys = _keys(ours), _keys(theirs)
    if sorted(our_keys) != sorted(their_keys):
        same = (Counter(our_keys) & Counter(their_keys)).total()
        raise DataError(
            f"{a.reference} and {b.reference} were scored on different rows ({len(our_keys):,} and "
            f"{len(their_keys):,}, of which {same:,} are the same); compare models of the same data and splits"
        )
    row_of = np.empty(len(our_keys), dtype=np.intp)
    row_of[_sorted_rows(our_keys)] = _sorted_rows(their_keys)
    columns = [theirs.names.index(name) for name in ours.names]
    return replace(ours, probabilities=theirs.probabilities[row_of][:, columns])


def _keys(predictions: Predictions) -> list[tuple[str, str, str]]:
    labels = [predictions.names[label] for label in predictions.labels.tolist()]
    return list(zip(predictions.ids, predictions.texts, labels, strict=True))


def _sorted_rows(keys: list[tuple[str, str, str]]) -> list[int]:
    return sorted(range(len(keys)), key=keys.__getitem__)


def objective_of(scored: Scored, places: Places) -> str:
    """The first objective of its study that is a score of predictions; accuracy where the study is not known here."""
    if scored.study is None or scored.study not in _studies(places):
        return "accuracy"
    objectives = spec_of(places, scored.study).objective
    return next((one.metric for one in objectives if one.metric in METRICS), "accuracy")
