"""Which settings make a difference: a study's variants in pairs, on the same rows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpo.comparison import LEVEL, objective_of
from hpo.contrasts.variants import Variant, addresses, are_matched, beside, differing, grouped, short, trained
from hpo.places import Places
from pipelines.compare import Measured, observed
from pipelines.contrasts import Contrast, compare_all
from pipelines.errors import DataError
from pipelines.scores import METRICS
from pipelines.weighted import WEIGHTED


@dataclass(frozen=True, eq=False)
class Contrasts:
    """All variants, the best first, and all pairs of them."""

    studies: tuple[str, ...]
    by: tuple[str, ...]
    """Addresses of the settings in question that differ."""
    beside: tuple[str, ...]
    """Addresses of others that differ as well: a difference may be theirs, unless trials are matched."""
    matched: bool
    """Each variant has one trial for each of the same values of these; scores are means over them."""
    rows: int
    metric: str
    variants: tuple[Variant, ...]
    measured: tuple[Measured, ...]
    """The metric of each variant, with its 95 % interval."""
    pairs: tuple[Contrast, ...]
    """Differences are of the second less the first, which is the better one or as good."""

    def name(self, variant: int) -> str:
        """A variant in words: `max_length 64, truncation head`."""
        settings = self.variants[variant].settings
        return ", ".join(f"{name} {in_words(settings[address])}" for address, name in short(self.by))

    def changed(self, pair: Contrast) -> dict[str, list[Any]]:
        """The settings in which two variants differ, by address: what they are in the first, and in the second."""
        first, second = (self.variants[one].settings for one in (pair.a, pair.b))
        return {one: [first[one], second[one]] for one in self.by if first[one] != second[one]}

    def changes(self, pair: Contrast) -> list[str]:
        """The same in words: `max_length 64 > 32`."""
        names = dict(short(self.by))
        return [
            f"{names[address]} {in_words(first)} > {in_words(second)}"
            for address, (first, second) in self.changed(pair).items()
        ]

    @property
    def found(self) -> list[Contrast]:
        """The pairs whose difference is more than chance, all pairs considered."""
        return [pair for pair in self.pairs if is_real(pair)]

    def verdict(self) -> str:
        """What follows from it, in a sentence or two."""
        best, score = self.name(0), f"{self.metric} {self.measured[0].value:.4f}"
        behind = {pair.b for pair in self.found if pair.a == 0}
        if not self.found:
            return (
                f"No difference that these rows could show in {_pairs(len(self.pairs))}; the best is {best}: {score}."
            )
        equals = [self.name(one) for one in range(1, len(self.variants)) if one not in behind]
        tail = f" Not to be told from it: {'; '.join(equals)}." if equals else ""
        return (
            f"The best is {best}: {score}. {len(self.found)} of {len(self.pairs)} pairs differ by more than chance "
            f"(Holm, {LEVEL:.0%}).{tail}"
        )

    def caution(self) -> str | None:
        """Why a difference need not be that of the settings in question; None where it can only be theirs."""
        if not self.beside or self.matched:
            return None
        return f"the trials differ in {', '.join(self.beside)} as well, so a difference may come from there"

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "studies": list(self.studies),
            "split": "select",
            "rows": self.rows,
            "metric": self.metric,
            "by": list(self.by),
            "also_differ": list(self.beside),
            "matched": self.matched,
            "verdict": self.verdict(),
            "variants": [
                {"settings": dict(one.settings), "trials": list(one.trials), **_interval(measured)}
                for one, measured in zip(self.variants, self.measured, strict=True)
            ],
            "pairs": [self._pair(pair) for pair in self.pairs],
        }

    def _pair(self, pair: Contrast) -> dict[str, Any]:
        return {
            "first": pair.a,
            "second": pair.b,
            "settings": self.changed(pair),
            **asdict(pair.difference),
            "difference": pair.difference.difference,
            "p_adjusted": pair.adjusted,
            "differs": is_real(pair),
        }


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _interval(measured: Measured) -> dict[str, float]:
    return {"value": measured.value, "low": measured.low, "high": measured.high}


def in_words(value: Any) -> str:
    """A setting's value as YAML writes it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def is_real(pair: Contrast) -> bool:
    """Whether a difference is more than chance, all pairs considered."""
    return pair.adjusted <= LEVEL


def compare_variants(studies: Sequence[str], by: Sequence[str], *, places: Places) -> Contrasts:
    """Compare all complete trials of some studies by the settings that `by` names (addresses, or sections of them).

    Trials that agree in these are one variant, with its mean score. Where each variant has a trial for each of the same
    values of what differs beside, as in a grid, these are compared at equal values; else the interval knows how much
    the trials of a variant differ. Raises `ConfigError` and `DataError` where there is nothing that could be compared.
    """
    asked, found = addresses(by), trained(studies, places=places)
    chosen = differing(found, asked)
    others, metric = beside(found, asked), objective_of(found[0].scored, places)
    groups = grouped(found, chosen, others)
    labels = found[0].scored.predictions.labels
    sign = 1 if METRICS[metric].direction == "maximize" else -1
    ordered = sorted(groups, key=lambda one: -sign * observed(WEIGHTED[metric], labels, one.probabilities))
    matched = are_matched(ordered)
    scores = compare_all(metric, labels, [one.probabilities for one in ordered], matched=matched)
    if scores is None:
        raise DataError(f"these rows do not define the {metric}: they are of one class")
    return Contrasts(
        studies=tuple(dict.fromkeys(studies)),
        by=chosen,
        beside=others,
        matched=matched,
        rows=len(labels),
        metric=metric,
        variants=tuple(ordered),
        measured=tuple(scores[0]),
        pairs=tuple(scores[1]),
    )
