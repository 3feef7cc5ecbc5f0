"""Sentences whose answer is known without any data: behavioural checks, as a file says them (Ribeiro et al. 2020)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipelines.config import Frozen, Number
from pipelines.errors import ConfigError, DataError
from pipelines.generalize.labels import match_labels

MOST_CASES = 2_000
"""Of one check: more tell no more, and take minutes."""
SHIPPED = Path(__file__).with_name("checks.yaml")

Words = Annotated[list[str], Field(min_length=1)]


class _Check(Frozen):
    name: str = Field(min_length=1, max_length=80)
    """Names the check everywhere."""
    about: str = ""
    """What a model that fails it does not know, in one sentence."""
    texts: Words
    """The sentences; `{word}` stands for each of the words that `fill` gives."""
    fill: dict[str, Words] = Field(default_factory=dict)
    """What may stand in each blank."""

    @model_validator(mode="after")
    def _has_words_for_every_blank(self) -> Self:
        try:
            blanks = {name for text in self.texts for _, name, _, _ in Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; write {{{{ and }}}} for braces that are no blanks") from error
        if missing := sorted(blanks - self.fill.keys()):
            raise ValueError(f"the texts have the blank {{{missing[0]}}}, and fill gives no words for it")
        if unused := sorted(self.fill.keys() - blanks):
            raise ValueError(f"fill gives words for {{{unused[0]}}}, and no text has that blank")
        return self


class MinimumFunctionality(_Check):
    """Plain sentences that any model of the task must get right."""

    kind: Literal["minimum functionality"]
    expect: str
    """The class."""


class Invariance(_Check):
    """What the blank `vary` says must not move the answer."""

    kind: Literal["invariance"]
    vary: str
    """A blank of every text: its first word is what the others are compared with."""

    @model_validator(mode="after")
    def _varies_a_blank(self) -> Self:
        if len(self.fill.get(self.vary, [])) < 2:
            raise ValueError(f"vary names the blank {{{self.vary}}}, for which fill must give two words or more")
        if plain := [text for text in self.texts if f"{{{self.vary}}}" not in text]:
            raise ValueError(f"vary names the blank {{{self.vary}}}, and {plain[0]!r} does not have it")
        return self


class Direction(_Check):
    """What is added must not move the answer away from a class."""

    kind: Literal["direction"]
    add: Words
    """Sentences, each added behind the text."""
    towards: str
    """The class whose probability must not fall."""
    tolerance: Number = Field(default=0.1, ge=0, lt=1)
    """By how much it may fall all the same."""


Check = Annotated[MinimumFunctionality | Invariance | Direction, Field(discriminator="kind")]


class ChecksFile(Frozen):
    """A file of checks."""

    checks: Annotated[list[Check], Field(min_length=1)]
    """One question or more."""


@dataclass(frozen=True)
class Case:
    """One question to a model."""

    text: str
    other: str | None = None
    """The text that it is compared with; None where the answer itself is known."""


def checks_from(tree: Any, *, where: str) -> list[Check]:
    """The checks that a file holds. Raises `ConfigError`: one line with every fault and its place."""
    try:
        checks = ChecksFile.model_validate(tree).checks
    except ValidationError as error:
        faults = [f"{_place(entry['loc'])}: {entry['msg'].removeprefix('Value error, ')}" for entry in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(faults)}") from error
    names = [check.name for check in checks]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{where}: two checks are called {doubled[0]!r}; give each a name of its own")
    for check in checks:
        if (count := _count(check)) > MOST_CASES:
            raise ConfigError(f"{where}: the check {check.name!r} has {count:,} cases, {MOST_CASES:,} are the most")
    return checks


def shipped_checks() -> list[Check]:
    """Those that come along: sentiment in English."""
    import yaml

    return checks_from(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")), where=SHIPPED.name)


def cases_of(check: Check) -> list[Case]:
    """Every case of a check: each text with each choice of words."""
    return list(_cases(check))


def _cases(check: Check) -> Iterator[Case]:
    for text in check.texts:
        for words in _fillings(text, check.fill):
            if isinstance(check, MinimumFunctionality):
                yield Case(text.format(**words))
            elif isinstance(check, Direction):
                for more in check.add:
                    yield Case(text.format(**words), f"{text.format(**words)} {more}")
            elif words[check.vary] != check.fill[check.vary][0]:
                first = {**words, check.vary: check.fill[check.vary][0]}
                yield Case(text.format(**first), text.format(**words))


def _fillings(text: str, fill: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    blanks = sorted({name for _, name, _, _ in Formatter().parse(text) if name is not None})
    for words in product(*(fill[blank] for blank in blanks)):
        yield dict(zip(blanks, words, strict=True))


def _count(check: Check) -> int:
    total = 0
    for text in check.texts:
        size = 1
        for blank in {name for _, name, _, _ in Formatter().parse(text) if name is not None}:
            size *= len(check.fill[blank])
        total += size * (len(check.add) if isinstance(check, Direction) else 1)
    return total


def class_of(check: Check, labels: Sequence[str]) -> int | None:
    """The model's class that a check is about, as its index; None for one that is about any.

    Raises `ConfigError` where the model has no such class.
    """
    wanted = getattr(check, "expect", None) or getattr(check, "towards", None)
    if wanted is None:
        return None
    try:
        name = match_labels([wanted], labels, told={}, shown=check.name)[wanted]
    except DataError:
        classes = ", ".join(map(repr, labels))
        raise ConfigError(
            f"check {check.name!r}: the model has no class {wanted!r}; its classes are {classes}"
        ) from None
    return list(labels).index(str(name))


def fitting(checks: Sequence[Check], labels: Sequence[str]) -> tuple[list[Check], list[str]]:
    """The checks whose classes a model has, and a note on each of the others."""
    found, notes = [], []
    for check in checks:
        try:
            class_of(check, labels)
            found.append(check)
        except ConfigError as error:
            notes.append(f"{error}; left out")
    return found, notes


def _place(loc: Sequence[str | int]) -> str:
    """Where in the file: `checks[2].expect`."""
    kinds = {"minimum functionality", "invariance", "direction"}
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part not in kinds]
    return "".join(parts).lstrip(".") or "the file"
