"""Which column holds the text and which the label: as the user says, or found by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.config import DataConfig
from pipelines.data.wording import listing, quoted, suggestion
from pipelines.errors import ConfigError, DataError

TEXT_NAMES = frozenset(
    ("text", "sentence", "review", "content", "comment", "body", "document", "tweet", "message", "post", "phrase")
)
LABEL_NAMES = frozenset(
    ("label", "labels", "sentiment", "class", "category", "target", "stars", "rating", "polarity", "emotion", "intent")
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_CLASS_WORDS = frozenset(("positive", "negative", "neutral", "pos", "neg"))


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read."""

    text: str
    label: str
    group: str | None


def choose_columns(names: Sequence[str], config: DataConfig, shown: str) -> Columns:
    """The columns of the file `shown` that hold text, label and group.

    What `config` leaves open is found by common names, or as the other one of exactly two columns. Raises
    `DataError` for duplicate, absent and ambiguous columns, `ConfigError` when one column is given two roles.
    """
    _refuse_two_roles(config)
    refuse_duplicates(names, shown)
    given = {"text": config.text, "label": config.label, "group": config.group}
    absent = [_absent(role, name, names) for role, name in given.items() if name is not None and name not in names]
    if absent:
        raise DataError("\n".join(f"{shown}: {fault}{_header_hint(names)}" for fault in absent))
    free = [name for name in names if name and name not in given.values()]
    text = config.text or _found("text", free, TEXT_NAMES, shown=shown)
    label = config.label or _found("label", free, LABEL_NAMES, shown=shown)
    text, label = _other_of_two(text, label, free, names=names)
    if text is None or label is None:
        raise DataError(_not_found(text, label, names, shown=shown))
    return Columns(text, label, config.group)


def _refuse_two_roles(config: DataConfig) -> None:
    roles = [(f"data.{role}", getattr(config, role)) for role in ("text", "label", "group")]
    for position, (role, name) in enumerate(roles):
        for other, same in roles[:position]:
            if name is not None and name == same:
                raise ConfigError(f"{other} and {role} both name the column {name!r}; they must differ")


def choose_text(names: Sequence[str], given: str | None, shown: str) -> str:
    """The column of the file `shown` that holds texts to classify: the given one, or found by common names.

    Raises `DataError` for duplicate, absent and ambiguous columns.
    """
    refuse_duplicates(names, shown)
    if given is not None:
        if given not in names:
            close = suggestion(given, [name for name in names if name])
            header = _header_hint(names)
            raise DataError(f"{shown}: no column {given!r}{close}; the columns are {quoted(names)}{header}")
        return given
    hits = [name for name in names if name.casefold() in TEXT_NAMES]
    if len(hits) == 1 or len(names) == 1:
        return (hits or names)[0]
    if hits:
        raise DataError(f"{shown}: the text may be any of the columns {quoted(hits)}; name it: --text-column")
    raise DataError(f"{shown}: which column is the text? Name it: --text-column; the columns are {quoted(names)}")


def refuse_duplicates(names: Sequence[str], shown: str) -> None:
    """Raises `DataError` when two columns of the file `shown` have one name."""
    for name in names:
        places = [place for place, other in enumerate(names, start=1) if other == name]
        if name and len(places) > 1:
            where = listing(places)
            raise DataError(f"{shown}: the columns {where} are all named {name!r}; rename or delete all but one")


def _absent(role: str, name: str, names: Sequence[str]) -> str:
    close = suggestion(name, [other for other in names if other])
    return f"no column {name!r} (data.{role}){close}; the columns are {quoted(names)}"


def _found(role: str, free: Sequence[str], known: frozenset[str], *, shown: str) -> str | None:
    hits = [name for name in free if name.casefold() in known]
    if len(hits) > 1:
        raise DataError(f"{shown}: the {role} may be any of the columns {quoted(hits)}; name it in data.{role}")
    return hits[0] if hits else None


def _other_of_two(
    text: str | None, label: str | None, free: Sequence[str], *, names: Sequence[str]
) -> tuple[str | None, str | None]:
    """With exactly two columns, and one of them known, the other one has the other role."""
    if len(names) == 2 and (text is None) != (label is None):
        others = [name for name in free if name not in (text, label)]
        return (text or others[0], label or others[0]) if others else (text, label)
    return text, label


def _not_found(text: str | None, label: str | None, names: Sequence[str], *, shown: str) -> str:
    roles = [role for role, name in (("text", text), ("label", label)) if name is None]
    if len(roles) == 2 and _looks_like_data(names):
        return f"{shown}: has no header, its first line holds {quoted(names)}; add a first line such as text,label"
    keys = " and ".join(f"data.{role}" for role in roles)
    return f"{shown}: which column is the {' and which the '.join(roles)}? Set {keys}; the columns are {quoted(names)}"


def _header_hint(names: Sequence[str]) -> str:
    return " (its first line looks like an example: is the header missing?)" if _looks_like_data(names) else ""


def _looks_like_data(names: Sequence[str]) -> bool:
    """Headers are short words; numbers, sentences and class names are data."""
    return any(
        _NUMBER.fullmatch(name) or name.endswith((".", "!", "?")) or len(name.split()) > 3 or name in _CLASS_WORDS
        for name in map(str.strip, names)
    )
