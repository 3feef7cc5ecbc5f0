"""What a part of the benchmark found, as values, and what it means in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.protocol import Interval, Run, geometric_mean, mean, paired_ratios


@dataclass(frozen=True)
class Comparison:
    """The same work done by a peer and by us."""

    measure: str
    peer: str
    ours: str
    unit: str
    """`rows/s`, `s`, or `MB`."""
    peer_value: float
    ours_value: float
    ratio: Interval
    """How many times more time, or memory, the peer takes."""
    target: float | None = None
    """The ratio that was aimed at."""

    @property
    def verdict(self) -> str:
        """Whether the target is met, and whether the measurement can tell."""
        if self.target is None:
            return ""
        if self.ratio.mean < self.target:
            return "missed, within noise" if self.ratio.high >= self.target else "missed"
        return "met, within noise" if self.ratio.low < self.target else "met"


@dataclass(frozen=True)
class Limit:
    """A value that should not be exceeded."""

    measure: str
    unit: str
    value: float
    at_most: float

    @property
    def verdict(self) -> str:
        """Whether it was kept."""
        return "met" if self.value <= self.at_most else "missed"


@dataclass(frozen=True)
class Difference:
    """Ours minus the peer's, of a figure that should be equal."""

    measure: str
    peer: str
    ours: str
    unit: str
    peer_value: float
    ours_value: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """Which side is ahead, if the interval leaves zero out."""
        if self.interval.low > 0:
            return "ours is better"
        if self.interval.high < 0:
            return "ours is worse"
        return "no difference beyond noise"


@dataclass(frozen=True)
class Absent:
    """A peer that could not be measured here."""

    measure: str
    peer: str
    reason: str


@dataclass(frozen=True)
class Part:
    """One part of the benchmark, with everything that was measured for it."""

    name: str
    about: str
    """What was measured, in a sentence or two."""
    comparisons: Sequence[Comparison] = ()
    limits: Sequence[Limit] = ()
    differences: Sequence[Difference] = ()
    absent: Sequence[Absent] = ()
    runs: dict[str, list[Run]] = field(default_factory=dict)
    repetitions: dict[str, list[float]] = field(default_factory=dict)
    """By variant, one figure for each repetition."""


def compared(
    measure: str, runs: Sequence[Run], *, peer: str, ours: str, unit: str, target: float | None = None
) -> Comparison:
    """Two variants' pairs of runs as one comparison; the unit `rows/s` shows speed, any other the wall time."""
    return Comparison(
        measure=measure,
        peer=peer,
        ours=ours,
        unit=unit,
        peer_value=_value(runs, peer, unit=unit),
        ours_value=_value(runs, ours, unit=unit),
        ratio=geometric_mean(paired_ratios(runs, peer, ours)),
        target=target,
    )


def sizes(measure: str, values: dict[str, float], *, peer: str, ours: str) -> Comparison:
    """Two sizes in MB, known without an interval."""
    ratio = values[peer] / values[ours]
    return Comparison(measure, peer, ours, "MB", values[peer], values[ours], Interval(ratio, math.nan, math.nan))


def difference(measure: str, peers: Sequence[float], ours: Sequence[float], *, names: tuple[str, str]) -> Difference:
    """Paired shares (0 to 1), compared in points of a hundred; `names` are peer and ours."""
    points = [100 * (own - other) for other, own in zip(peers, ours, strict=True)]
    peer_value, ours_value = 100 * float(np.mean(peers)), 100 * float(np.mean(ours))
    return Difference(measure, *names, "points", peer_value, ours_value, mean(points))


def average(runs: Sequence[Run], variant: str, *, extra: str = "") -> float:
    """Mean wall time of a variant's runs, or of something else that they learned."""
    timed = [run.timed for run in runs if run.variant == variant]
    return float(np.mean([one.extra[extra] if extra else one.wall for one in timed]))


def _value(runs: Sequence[Run], variant: str, *, unit: str) -> float:
    timed = [run.timed for run in runs if run.variant == variant]
    if unit == "rows/s":
        return sum(one.work for one in timed) / sum(one.wall for one in timed)
    return average(runs, variant)
