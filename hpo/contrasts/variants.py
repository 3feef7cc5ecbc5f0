"""From a study's trials to its variants: trials that agree in the settings that somebody asks about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.comparison import Scored, in_order_of, kept_of
from hpo.listing import trials
from hpo.places import Places
from hpo.space import SETTINGS
from hpo.suggest import did_you_mean
from pipelines.errors import ConfigError, DataError
from pipelines.files import read_json

MOST = 30
"""Variants at most: they make 435 pairs, of which a difference must be very clear to stand out."""
# What changes nothing that a trial is compared for, or is another draw of the same.
_NO_CHANGE = ("seed", "train.precision", "train.compile", "train.micro_batch_size", "train.gradient_checkpointing",
              "train.checkpoint_seconds", "train.evaluations")  # fmt: skip
_SECTIONS = tuple(dict.fromkeys(address.partition(".")[0] for address in SETTINGS if "." in address))


@dataclass(frozen=True, eq=False)
class Trained:
    """A complete trial: every setting by address, and what it said of the rows."""

    scored: Scored
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Variant:
    """Trials with the same values of the settings in question."""

    settings: Mapping[str, Any]
    """By address, in one order for all variants."""
    trials: tuple[str, ...]
    """`STUDY/NUMBER` each."""
    otherwise: tuple[str, ...]
    """For each trial the values of what differs beside, as one text; trials are ordered by it."""
    probabilities: NDArray[np.float64]
    """(trials, rows, classes)"""


def addresses(by: Sequence[str]) -> tuple[str, ...]:
    """The settings that words mean: addresses (`tokens.max_length`) and sections (`tokens`). Raises `ConfigError`."""
    found: dict[str, None] = {}
    for word in by:
        named = [word] if word in SETTINGS else [one for one in SETTINGS if one.startswith(f"{word}.")]
        if not named:
            hint = did_you_mean(word, [*SETTINGS, *_SECTIONS]) or f"; sections are {', '.join(_SECTIONS)}"
            raise ConfigError(f"--by: {word!r} is no setting, and no section of settings{hint}")
        found |= dict.fromkeys(named)
    return tuple(found)


def trained(studies: Sequence[str], *, places: Places) -> list[Trained]:
    """The complete trials of some studies, rows and classes in the order of the first one's.

    Raises `ConfigError` for a study that does not exist, `DataError` where trials were scored on different rows.
    """
    found: list[Trained] = []
    for study in dict.fromkeys(studies):
        for row in trials(places, study):
            if row["state"] == "COMPLETE":
                scored = kept_of(f"{study}/{row['trial']}", study, row["trial"], places=places)
                params = (read_json(places.trial(study, row["trial"]) / "trial.json") or {}).get("params", {})
                found.append(Trained(scored, SETTINGS | params))  # what is new since had its default
    if not found:
        raise DataError(f"{', '.join(studies)}: no trial is COMPLETE yet, so there is nothing to compare")
    first = found[0].scored
    return [Trained(_in_order(first, one.scored), one.settings) for one in found]


def _in_order(first: Scored, other: Scored) -> Scored:
    return Scored(other.reference, other.study, other.words, in_order_of(first, other))


def differing(found: Sequence[Trained], chosen: Sequence[str]) -> tuple[str, ...]:
    """Those of some settings that are not the same in all trials."""
    return tuple(one for one in chosen if len({repr(trial.settings.get(one)) for trial in found}) > 1)


def beside(found: Sequence[Trained], chosen: Sequence[str]) -> tuple[str, ...]:
    """The settings that nobody asks about, and that differ all the same: a difference may be theirs."""
    others = (one for one in sorted(SETTINGS) if one not in chosen and one not in _NO_CHANGE)
    return differing(found, [one for one in others if not one.startswith("data.")])


def grouped(found: Sequence[Trained], chosen: Sequence[str], others: Sequence[str]) -> list[Variant]:
    """Trials grouped by the chosen settings, in the order of the first trial of each. Raises `DataError`.

    `others` differ beside. It is raised for fewer than two groups, and for more than there is any sense in comparing.
    """
    groups: dict[str, list[Trained]] = {}
    for one in found:
        groups.setdefault(_values(one, chosen), []).append(one)
    if len(groups) < 2:
        raise DataError("all complete trials are the same in what --by names, so there is nothing to compare")
    if len(groups) > MOST:
        raise DataError(
            f"{len(groups)} variants are too many to tell apart ({MOST} at most); let --by name fewer settings"
        )
    return [_variant(group, chosen, others) for group in groups.values()]


def _variant(group: Sequence[Trained], chosen: Sequence[str], others: Sequence[str]) -> Variant:
    ordered = sorted(group, key=lambda one: _values(one, others))
    return Variant(
        settings={address: group[0].settings.get(address) for address in chosen},
        trials=tuple(one.scored.reference for one in ordered),
        otherwise=tuple(_values(one, others) for one in ordered),
        probabilities=np.stack([one.scored.predictions.probabilities for one in ordered]),
    )


def _values(trial: Trained, chosen: Sequence[str]) -> str:
    return repr([trial.settings.get(address) for address in chosen])


def are_matched(groups: Sequence[Variant]) -> bool:
    """Whether each variant has one trial for each of the same values of what differs beside, as in a grid."""
    first = groups[0].otherwise
    return len(set(first)) == len(first) > 1 and all(one.otherwise == first for one in groups)


def short(addresses: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each address with the shortest name that tells it from the others: `max_length` for `tokens.max_length`."""
    leaves = [address.rpartition(".")[2] for address in addresses]
    yield from ((one, leaf if leaves.count(leaf) == 1 else one) for one, leaf in zip(addresses, leaves, strict=True))
