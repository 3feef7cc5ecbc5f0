"""Several checkpoints side by side: their order, who is worth fine-tuning, and why."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import RunConfig, replaced
from pipelines.data import Dataset
from pipelines.errors import ConfigError
from pipelines.families import family_called
from pipelines.screening.measures import Measures
from pipelines.screening.sample import Sample, draw_sample
from pipelines.screening.verdict import cost_in_words, verdict

KEEP = 3
_SURELY = 2.0  # standard errors
_SHARE = 1 / 3


@dataclass(frozen=True)
class Basis:
    """On which rows it was measured."""

    data: str
    """Name of the data set."""
    digest: str
    """Of the data set's content."""
    rows: int
    available: int
    """Rows of the train split."""
    classes: int
    majority: float
    """What guessing the most frequent class gets right of the sample."""
    seed: int

    def in_words(self) -> str:
        """For a person."""
        return f"{self.rows:,} of the {self.available:,} rows of the train split of {self.data}, {self.classes} classes"


@dataclass(frozen=True)
class Screening:
    """What was measured of each checkpoint on the same rows."""

    basis: Basis
    keep: int
    """How many were wanted, at most."""
    measures: tuple[Measures, ...]
    """The most promising first."""

    @cached_property
    def places(self) -> dict[str, float]:
        """The mean of each checkpoint's places by LogME, H-score and linear probe, by name; 1 is the best."""
        return mean_places(self.measures)

    @cached_property
    def shortlist(self) -> tuple[str, ...]:
        """The first `keep`, without those that are far behind; always one at least."""
        able = [one.name for one in self.measures if not self.is_far_behind(one)]
        return tuple(able[: self.keep])

    @cached_property
    def front(self) -> frozenset[str]:
        """Those for which no other is at once at least as right and at least as quick (Pareto)."""
        return frozenset(one.name for one in self.measures if not any(_beats(two, one) for two in self.measures))

    @cached_property
    def verdict(self) -> str:
        """What follows from it, in plain words."""
        behind = [one.name for one in self.measures if self.is_far_behind(one)]
        return verdict(self.measures, self.shortlist, behind=behind, majority=self.basis.majority)

    @cached_property
    def cost(self) -> str:
        """What it took, against what fine-tuning would take, in plain words."""
        return cost_in_words(self.measures)

    def is_far_behind(self, one: Measures) -> bool:
        """Whether its linear probe gains less over guessing than a third of what the best probe gains, or nothing sure.

        How texts are embedded untrained foretells fine-tuning only roughly, so less of a difference is no reason.
        """
        best = max(self.measures, key=lambda other: other.linear.accuracy)
        gain, most = (two.linear.accuracy - self.basis.majority for two in (one, best))
        return one is not best and gain < max(most * _SHARE, _SURELY * one.linear.error)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs; `from_json` reads it again."""
        return {
            "basis": asdict(self.basis),
            "keep": self.keep,
            "shortlist": list(self.shortlist),
            "verdict": self.verdict,
            "cost": self.cost,
            "models": [
                asdict(one) | {"place": self.places[one.name], "front": one.name in self.front} for one in self.measures
            ],
        }


def compare(
    configs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    cache: Path,
    keep: int = KEEP,
    rows: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Screening:
    """Measure the checkpoint of each configuration on a sample of the train split.

    Raises `ModelError` for a checkpoint that cannot be used, and what `draw_sample` raises.
    """
    sample = draw_sample(dataset, rows=rows, seed=seed)
    from pipelines.screening.measuring import measure  # imports torch, which takes seconds

    measures = []
    for config in configs:
        say(f"screening {config.model.name} on {len(sample.texts):,} texts")
        measures.append(measure(config, dataset, sample, cache=cache))
    return Screening(_basis(dataset, sample), keep, tuple(_labelled(in_order(measures))))


def config_of(name: str) -> RunConfig:
    """How a checkpoint is fine-tuned where nobody says otherwise: the known-good settings of its family.

    Raises `ConfigError` for a model from scratch.
    """
    if name.startswith("scratch:"):
        raise ConfigError(f"{name}: begins with random weights, so there is nothing to screen; leave it out")
    family = family_called(name)
    return replaced(RunConfig(), dict(family.defaults if family else {}) | {"model.name": name})


def in_order(measures: Sequence[Measures]) -> list[Measures]:
    """By the mean of their places; of equals the one with the better linear probe first."""
    places = mean_places(measures)
    return sorted(measures, key=lambda one: (places[one.name], -one.linear.accuracy, one.name))


def mean_places(measures: Sequence[Measures]) -> dict[str, float]:
    """The mean of each checkpoint's places by LogME, H-score and linear probe, by name; equals share a place."""
    from scipy.stats import rankdata

    scores = np.array([[one.logme, one.h_score, one.linear.accuracy] for one in measures])
    means = rankdata(-scores, axis=0).mean(axis=1)
    return {one.name: float(mean) for one, mean in zip(measures, means, strict=True)}


def _labelled(measures: Sequence[Measures]) -> list[Measures]:
    """Directories by their own names, where those are different."""
    paths = [Path(one.name).expanduser() for one in measures]
    labels = [path.resolve().name if path.is_dir() else str(path) for path in paths]
    each = zip(measures, labels, strict=True)
    return [replace(one, label=label) if labels.count(label) == 1 else one for one, label in each]


def _beats(two: Measures, one: Measures) -> bool:
    promise, cost = two.linear.accuracy - one.linear.accuracy, one.seconds_per_1000 - two.seconds_per_1000
    return promise >= 0 and cost >= 0 and (promise > 0 or cost > 0)


def _basis(dataset: Dataset, sample: Sample) -> Basis:
    return Basis(
        data=dataset.name,
        digest=dataset.digest,
        rows=len(sample.texts),
        available=sample.available,
        classes=len(dataset.labels),
        majority=sample.majority,
        seed=sample.seed,
    )
