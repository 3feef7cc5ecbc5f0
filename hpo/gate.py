"""Whether a candidate takes the champion's place: from what both said of the same test rows to a verdict, as values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hpo.spec import Promotion
from hpo.suggest import did_you_mean
from pipelines.compare import Difference, compare_metric, flips, matched_interval, mcnemar
from pipelines.config import DataConfig
from pipelines.errors import ConfigError, DataError
from pipelines.generalize.external import load_external
from pipelines.predictions import Predictions
from pipelines.scores import METRICS
from pipelines.spending import alpha_of
from pipelines.weighted import judged

_TAIL = 20  # resamples wanted beyond the level, so that the test can reach it and the bound is not chance
_FEWEST, _MOST = 2_000, 200_000  # resamples
_FASTER = 0.9  # of the champion's latency: what is less apart is noise of the clock
_LENGTHS = re.compile(r"^([\d,]+) to ([\d,]+) characters$")


@dataclass(frozen=True, eq=False)
class Contender:
    """One model on the locked test rows."""

    predictions: Predictions
    scores: Mapping[str, float]
    """By name: metrics, and what it costs: `parameters`, `latency_ms`, `megabytes`."""
    elsewhere: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metrics on other data sets, by their source; those of the policy's `elsewhere`."""


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate wins, and all that led to it."""

    wins: bool
    reason: str
    policy: str
    metric: str
    """The metric that decides."""
    candidate: float | None
    """Its value of the candidate on the locked test rows; None where these do not define it."""
    champion: float | None
    """The same of the champion; None where there was none, or none to compare with."""
    opening: int
    """Which look at these test rows this was, from 1."""
    level: float
    """What of alpha this look may spend."""
    test: str | None = None
    """Which test; None where there was nothing to compare."""
    difference: float | None = None
    """Candidate less champion."""
    low: float | None = None
    """Lower end of the interval of the difference: its one-sided confidence is 1 - level at each end."""
    high: float | None = None
    p: float | None = None
    """How often a candidate that is no better would do so well: one-sided."""
    failed: tuple[str, ...] = ()
    """Floors and limits that the candidate misses, in words."""

    def in_words(self) -> list[str]:
        """The figures for a person, a line each for the difference and for what it was judged by."""
        ours = "not defined" if self.candidate is None else f"{self.candidate:.4f}"
        lines = [f"locked test {self.metric} {ours}"]
        if self.champion is not None:
            lines[0] += f", the champion's {self.champion:.4f}"
        if self.difference is not None:
            lines[0] += f": difference {self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f})"
            lines.append(f"{self.test}: p {self.p:.3g}, level {self.level:.3g}, policy {self.policy}")
        lines.append(f"opening {self.opening} of these test rows for this model")
        return lines


def judge(
    policy: Promotion,
    candidate: Contender,
    champion: Contender | None,
    *,
    metric: str,
    opening: int,
    obstacle: str | None = None,
) -> Verdict:
    """The verdict on a candidate. A first one reigns if it misses no floor and no limit.

    `opening` counts the tests on these very rows, this one among them: the level is `alpha_of(opening)`. `obstacle` is
    why the two cannot be compared, where they cannot. Raises `ValueError` where both were not tested on the same rows.
    """
    level = alpha_of(opening, policy.alpha)
    failed = tuple(_shortfalls(policy, candidate))
    found = _compared(metric, candidate, champion, level=level) if champion and obstacle is None else None
    if failed:
        wins, reason = False, f"it misses {'; '.join(failed)}"
    elif obstacle is not None:
        wins, reason = False, obstacle
    elif champion is None:
        wins, reason = True, "there was no champion"
    elif found is None:
        wins, reason = False, f"the test rows do not define {metric}: the two cannot be compared"
    elif policy.policy == "better":
        wins, reason = _is_better(policy, found, level=level)
    else:
        wins, reason = _is_as_good_and_cheaper(policy, found, candidate, champion)
    verdict = Verdict(
        wins=wins,
        reason=reason,
        policy=policy.policy,
        metric=metric,
        candidate=candidate.scores.get(metric),
        champion=champion.scores.get(metric) if champion else None,
        opening=opening,
        level=level,
        failed=failed,
    )
    if found is None:
        return verdict
    return replace(verdict, test=found.test, difference=found.difference, low=found.low, high=found.high, p=found.p)


def _is_better(policy: Promotion, found: Difference, *, level: float) -> tuple[bool, str]:
    if found.p > level:
        return False, f"not better than the champion on the locked test rows ({found.metric})"
    if found.gain < policy.minimum_effect:
        return False, f"better by {found.gain:.4f} {found.metric}, and {policy.minimum_effect:g} is asked for"
    return True, f"better than the champion on the locked test rows ({found.metric})"


def _is_as_good_and_cheaper(
    policy: Promotion, found: Difference, candidate: Contender, champion: Contender
) -> tuple[bool, str]:
    margin = policy.margin or 0.0
    least = found.low if METRICS[found.metric].direction == "maximize" else -found.high
    if least <= -margin:
        return False, f"it may be worse than the champion by {-least:.4f} {found.metric}; the margin is {margin:g}"
    savings = _savings(candidate.scores, champion.scores)
    if not savings:
        return False, "as good as the champion, and neither smaller nor faster"
    return True, f"as good as the champion within {margin:g} {found.metric}, and {' and '.join(savings)}"


def _savings(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    found = []
    if "parameters" in ours and ours["parameters"] < theirs.get("parameters", 0.0):
        found.append(f"smaller ({ours['parameters']:,.0f} parameters, not {theirs['parameters']:,.0f})")
    if "latency_ms" in ours and ours["latency_ms"] < _FASTER * theirs.get("latency_ms", 0.0):
        found.append(f"faster ({ours['latency_ms']:.1f} ms a text, not {theirs['latency_ms']:.1f})")
    return found


def _compared(metric: str, candidate: Contender, champion: Contender, *, level: float) -> Difference | None:
    """The paired difference, candidate less champion, with a one-sided test and an interval at the level."""
    ours, theirs = candidate.predictions, champion.predictions
    if list(ours.ids) != list(theirs.ids) or ours.names != theirs.names or (ours.labels != theirs.labels).any():
        raise ValueError("candidate and champion were not tested on the same rows")
    if metric == "accuracy":
        return _compared_exactly(candidate, champion, level=level)
    resamples = min(_MOST, max(_FEWEST, int(_TAIL / level) + 1))
    return compare_metric(
        metric,
        ours.labels,
        judged(theirs, metric),
        judged(ours, metric),
        resamples=resamples,
        level=1 - 2 * level,
        alternative="better",
    )


def _compared_exactly(candidate: Contender, champion: Contender, *, level: float) -> Difference:
    """The accuracy's difference needs no resamples: McNemar's test, and Agresti and Min's interval."""
    ours, theirs = candidate.predictions, champion.predictions
    changed = flips(ours.labels, theirs.weighed, ours.weighed)
    won, lost = len(changed.won), len(changed.lost)
    low, high = map(float, matched_interval(won, lost, len(ours.labels), 1 - 2 * level))
    ours_right, theirs_right = (float(one.correct.mean()) for one in (ours, theirs))
    p = float(mcnemar(won, lost, "better"))
    return Difference("accuracy", theirs_right, ours_right, low=low, high=high, p=p, test="exact McNemar")


def _shortfalls(policy: Promotion, candidate: Contender) -> Iterator[str]:
    """Each floor and limit that the candidate misses, with both figures."""
    for name, floor in policy.floors.items():
        yield from _shortfall(name, _value(name, candidate), floor)
    for source, floors in policy.elsewhere.items():
        for name, floor in floors.items():
            yield from _shortfall(name, candidate.elsewhere.get(source, {}).get(name), floor, where=f" on {source}")
    limits = {"megabytes": policy.max_megabytes, "latency_ms": policy.max_latency_ms}
    for name, limit in limits.items():
        if limit is not None and candidate.scores[name] > limit:
            yield f"{name} {candidate.scores[name]:.1f} (at most {limit:g})"


def _shortfall(name: str, value: float | None, floor: float, *, where: str = "") -> Iterator[str]:
    if value is None:
        yield f"{name}{where} (floor {floor:g}; no test row is of it)"
    elif name in METRICS and METRICS[name].direction == "minimize":
        if value > floor:
            yield f"{name}{where} {value:.4f} (at most {floor:g})"
    elif value < floor:
        yield f"{name}{where} {value:.4f} (floor {floor:g})"


def _value(floor: str, candidate: Contender) -> float | None:
    """What a floor is about; None where the test has no such rows. Classes are named as `compare.slices` names them."""
    if floor in METRICS:
        return candidate.scores.get(floor)
    predictions = candidate.predictions
    if match := _LENGTHS.match(floor):
        low, high = (int(text.replace(",", "")) for text in match.groups())
        rows = [row for row, text in enumerate(predictions.texts) if low <= len(text) <= high]
    else:
        name = floor.removeprefix("class ")
        rows = [row for row, label in enumerate(predictions.labels) if predictions.names[label] == name]
    return float(predictions.correct[rows].mean()) if rows else None


def floor_problems(policy: Promotion, labels: Sequence[str] | None = None) -> dict[str, str]:
    """What is wrong with the names of floors, by name; without `labels`, classes are taken on trust."""
    problems = {}
    for floor in policy.floors:
        known = floor in METRICS or _LENGTHS.match(floor)
        if known or (floor.startswith("class ") and (labels is None or floor.removeprefix("class ") in labels)):
            continue
        names = [*METRICS, *(f"class {label}" for label in labels or ())]
        problems[floor] = f"a floor is a metric, `class NAME` or `1 to 40 characters`{did_you_mean(floor, names)}"
    return problems


def elsewhere_problems(policy: Promotion) -> dict[str, str]:
    """What is wrong with the names of floors on other data sets, by their address below `promotion.elsewhere`."""
    return {
        f"{source}.{name}": f"a floor on other data is a metric{did_you_mean(name, METRICS)}"
        for source, floors in policy.elsewhere.items()
        for name in floors
        if name not in METRICS
    }


def refuse_unknown_floors(policy: Promotion, labels: Sequence[str]) -> None:
    """Raise `ConfigError` where a floor names a class, `DataError` where it names data, that cannot be used."""
    for floor, fault in floor_problems(policy, labels).items():
        raise ConfigError(f"promotion.floors.{floor}: {fault}")
    for source in policy.elsewhere:
        try:
            load_external(DataConfig(source=source), labels, told={})
        except DataError as error:
            fault = str(error).partition("; say what each is")[0]
            raise DataError(f"promotion.elsewhere.{source}: {fault}; give data of the study's classes") from error
