"""Ways in which people write the same thing otherwise: each change is a function of the text and a seed."""

import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

_SIGNS = ("\N{PAPERCLIP}", "\N{CLOCK FACE ONE OCLOCK}", "\N{PACKAGE}", "\N{SPIRAL CALENDAR PAD}")  # of no mood
_ASIDE = "This was written on a Tuesday."
_GAPS = ("  ", "\t", "\n", " \u00a0")
_SHORT = {"will not": "won't", "cannot": "can't", "can not": "can't", "shall not": "shan't"}
_LONG = {"won't": "will not", "can't": "cannot", "shan't": "shall not"}
_VERBS = "is|are|was|were|do|does|did|has|have|had|would|could|should|must|need"
_CONTRACTED = re.compile(r"\b\w+n['’]t\b", re.IGNORECASE)
_SPELLED = re.compile(rf"\b(?:{'|'.join(_SHORT)}|(?:{_VERBS}) not)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Change:
    """One way of writing otherwise."""

    name: str
    about: str
    """In one sentence."""
    apply: Callable[[str, random.Random], str]
    keeps: bool = True
    """Whether the text still means the same; else the answer should flip."""


def changed(text: str, change: Change, *, seed: int) -> str:
    """The changed text; the same for the same seed, whatever other texts there are."""
    return change.apply(text, random.Random(f"{seed}/{change.name}/{text}"))


def _typos(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    for place in draw.sample(places, min(len(places), max(1, len(words) // 8))):
        words[place] = _typo(words[place], draw)
    return " ".join(words)


def _typo(word: str, draw: random.Random) -> str:
    """Two letters exchanged, one lost, or one doubled; the first and the last stay, by which people read."""
    at = draw.randrange(1, len(word) - 2)
    kind = draw.choice(("exchanged", "lost", "doubled"))
    if kind == "exchanged":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + ("" if kind == "lost" else word[at] * 2) + word[at + 1 :]


def _with_emoji(text: str, draw: random.Random) -> str:
    return f"{text} {draw.choice(_SIGNS)}"


def _negation_otherwise(text: str, _: random.Random) -> str:
    """don't as do not where there is such a word, else do not as don't."""
    if _CONTRACTED.search(text):
        return _CONTRACTED.sub(lambda match: _like(match[0], _spelled(match[0])), text)
    return _SPELLED.sub(lambda match: _like(match[0], _contracted(match[0])), text)


def _spelled(word: str) -> str:
    plain = word.lower().replace("’", "'")
    return _LONG.get(plain, plain.removesuffix("n't") + " not")


def _contracted(words: str) -> str:
    plain = " ".join(words.lower().split())
    return _SHORT.get(plain, f"{plain.removesuffix(' not')}n't")


def _like(model: str, text: str) -> str:
    """With a capital where the model has one."""
    return text.capitalize() if model[:1].isupper() else text


def _negated(text: str, _: random.Random) -> str:
    return f"It is not true that {text[:1].lower()}{text[1:]}"


def _first_half(text: str, _: random.Random) -> str:
    words = text.split()
    return " ".join(words[: (len(words) + 1) // 2]) if len(words) >= 8 else text


def _longer(text: str, _: random.Random) -> str:
    return f"{text} {_ASIDE}"


def _spaced(text: str, draw: random.Random) -> str:
    first, *words = text.split(" ")
    return " " + first + "".join(draw.choice((" ", *_GAPS)) + word for word in words) + "\n"


def _without_punctuation(text: str, _: random.Random) -> str:
    kept = "".join(sign for sign in text if not unicodedata.category(sign).startswith("P"))
    return kept if kept.strip() else text


def _exclaimed(text: str, _: random.Random) -> str:
    return f"{text.rstrip().rstrip('.!')}!!!"


CHANGES = (
    Change("typos", "letters of one word in eight exchanged, lost or doubled", _typos),
    Change("lower case", "all letters small", lambda text, _: text.lower()),
    Change("upper case", "all letters capitals", lambda text, _: text.upper()),
    Change("emoji", "a sign of no mood at the end, as a paperclip", _with_emoji),
    Change("negation otherwise", "don't as do not, or the other way round", _negation_otherwise),
    Change("negated", "behind 'It is not true that': the answer should flip", _negated, keeps=False),
    Change(
        "first half", "the first half of the words, of texts with eight or more; some lose what they say", _first_half
    ),
    Change("longer", "a sentence at the end that says nothing", _longer),
    Change("white space", "double blanks, tabs and new lines between the words", _spaced),
    Change("no punctuation", "no punctuation marks", _without_punctuation),
    Change("exclamation", "three exclamation marks at the end", _exclaimed),
)
"""All changes; those of words are English."""
