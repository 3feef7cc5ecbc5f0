"""The labels of another data set in a model's words: as told, by equal names, or by synonyms that leave no doubt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from shlex import quote

from pipelines.data.labelchecks import canonical
from pipelines.data.wording import quoted, suggestion
from pipelines.errors import ConfigError, DataError

_POLARITY = {
    "pos": "positive", "+": "positive", "neg": "negative", "-": "negative", "neu": "neutral", "neut": "neutral",
}  # fmt: skip
# Which of two is the good one is agreed on; of three or more numbers it is not (is 1 the middle, or the worst star?).
_PAIRS = ({"0": "negative", "1": "positive"}, {"false": "negative", "true": "positive"})
LEFT_OUT = ""
"""What a label is mapped to whose rows are left out."""


def match_labels(
    theirs: Sequence[str], ours: Sequence[str], *, told: Mapping[str, str], shown: str
) -> dict[str, str | None]:
    """Each label of a data set as one of the model's classes `ours`; None where its rows are to be left out.

    `told` goes first: label to class, or to nothing. Then equal names, whatever their case and spaces; then synonyms:
    pos, neg, neu, and 0 and 1 or false and true where both sides have two classes. Raises `ConfigError` for a map that
    names what is not there, `DataError` for labels that are none of the model's, with what to write.
    """
    found: dict[str, str | None] = dict(_told(theirs, ours, told=told, shown=shown))
    by_name, by_meaning = _unambiguous(map(_folded, ours), ours), _unambiguous(_meanings(ours, ours), ours)
    meanings = dict(zip(theirs, _meanings(theirs, ours), strict=True))
    for label in theirs:
        if label not in found and (match := by_name.get(_folded(label)) or by_meaning.get(meanings[label])):
            found[label] = match
    if unmatched := [label for label in theirs if label not in found]:
        first = unmatched[0]
        raise DataError(
            f"{shown}: of its labels {quoted(unmatched)} cannot be matched with a class of the model ({quoted(ours)}); "
            f"say what each is, for instance --map {quote(f'{first}={ours[0]}')}, or leave its rows out by "
            f"--map {quote(f'{first}=')}"
        )
    return found


def _told(
    theirs: Sequence[str], ours: Sequence[str], *, told: Mapping[str, str], shown: str
) -> list[tuple[str, str | None]]:
    labels, classes = ({_folded(name): name for name in names} for names in (theirs, ours))
    pairs: list[tuple[str, str | None]] = []
    for label, name in told.items():
        if _folded(label) not in labels:
            hint = suggestion(label, theirs)
            raise ConfigError(f"--map {label}={name}: {shown} has no label {label!r}{hint}; it has {quoted(theirs)}")
        if name.strip() != LEFT_OUT and _folded(name) not in classes:
            hint = suggestion(name, ours)
            raise ConfigError(f"--map {label}={name}: the model has no class {name!r}{hint}; it has {quoted(ours)}")
        pairs.append((labels[_folded(label)], classes.get(_folded(name))))
    return pairs


def _folded(label: str) -> str:
    return " ".join(canonical(label).casefold().split())


def _meanings(labels: Sequence[str], ours: Sequence[str]) -> list[str]:
    """What each label commonly means; itself where nothing is agreed on."""
    folded = [_folded(label) for label in labels]
    pair = next((pair for pair in _PAIRS if set(folded) == set(pair) and len(ours) == 2), {})
    return [pair.get(label) or _POLARITY.get(label, label) for label in folded]


def _unambiguous(keys: "Sequence[str] | map[str]", names: Sequence[str]) -> dict[str, str]:
    """The names by key, without keys that several names have."""
    listed = list(keys)
    counts = Counter(listed)
    return {key: name for key, name in zip(listed, names, strict=True) if counts[key] == 1}
