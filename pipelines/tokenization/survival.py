"""Which traits of the written word survive a tokenizer: case, accents, emoji, numbers, negations."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WORDS = 20_000
"""Of more different words with a trait, the most frequent ones are looked at."""
_EMOJI = re.compile("[\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff]")
_NEGATION = re.compile(r"n\s?['’]\s?t(?!\w)")  # tokens are read back with blanks around the apostrophe


@dataclass(frozen=True)
class Survival:
    """How much of one trait is left."""

    words: int
    """Words of the texts that have the trait, each occurrence counted."""
    share: float | None
    """Share of them whose decoded tokens still show all of it; None without such words."""


def case(text: str) -> str:
    """Its capital letters."""
    return "".join(letter for letter in text if letter.isupper())


def accents(text: str) -> str:
    """Its letters with a diacritic mark, in small letters: what NFD takes apart into a letter and a mark."""
    if text.isascii():
        return ""
    composed = unicodedata.normalize("NFC", text).lower()
    return "".join(c for c in composed if any(map(unicodedata.combining, unicodedata.normalize("NFD", c))))


def emoji(text: str) -> str:
    """Its pictographs, without modifiers of skin and shape."""
    return "".join(_EMOJI.findall(text))


def numbers(text: str) -> str:
    """Its decimal digits."""
    return "".join(c for c in text if c.isdecimal())


def negations(text: str) -> str:
    """Each `n't` at the end of a word, whatever its apostrophe and case."""
    return "n't" * len(_NEGATION.findall(text.lower()))


TRAITS: Mapping[str, Callable[[str], str]] = {
    "case": case,
    "accents": accents,
    "emoji": emoji,
    "numbers": numbers,
    "negations": negations,
}
"""What of a text shows each trait; nothing (an empty text) where it has none of it."""


def survivals(backend: Any, words: Counter[str]) -> dict[str, Survival]:
    """What is left of each trait when words (with their counts) are encoded, each by itself, and decoded.

    A trait survives in a word when it shows in the decoded word exactly as in the word itself; what becomes unknown
    decodes to nothing. `backend` is a tokenizers.Tokenizer.
    """
    return {name: _survival(backend, words, trait) for name, trait in TRAITS.items()}


def _survival(backend: Any, words: Counter[str], trait: Callable[[str], str]) -> Survival:
    shown = Counter({word: count for word, count in words.items() if trait(word)})
    common = sorted(shown.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS]
    if not common:
        return Survival(0, None)
    encodings = backend.encode_batch([word for word, _ in common], add_special_tokens=False)
    decoded = backend.decode_batch([encoding.ids for encoding in encodings])
    left = sum(count for (word, count), back in zip(common, decoded, strict=True) if trait(back) == trait(word))
    return Survival(shown.total(), left / sum(count for _, count in common))
