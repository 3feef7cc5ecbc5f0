"""Texts that differ by a typo, a word, case or punctuation: met by MinHash, then judged by their exact similarity."""

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.8
"""One word more in ten, or a typo in forty characters, stays above it; sentences that share a phrase stay below."""
CROWD = 100
"""Rows that already look like so many others are compared with these, and with no later row."""
MAX_CHARACTERS = 10_000
"""Of each text, so many characters are compared."""

# Texts of similarity s meet with probability 1 - (1 - s^8)^32: 0.997 at 0.8, 0.12 at 0.5, 0.002 at 0.3
# (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4).
_BANDS, _BAND_ROWS = 32, 8
_SHORT, _LONG = 3, 5
_DOCUMENT = 300  # characters
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: n-grams of characters rarely meet in one 64-bit number

Shingles = NDArray[np.uint64]
"""(n,) the different n-grams of characters of one text, as sorted numbers."""


class Near(NamedTuple):
    """A row of the left texts, a row of the right ones, and the share of their n-grams that both have."""

    left: int
    right: int
    similarity: float


def near_duplicates(
    left: Sequence[str], right: Sequence[str] | None = None, *, threshold: float = THRESHOLD
) -> list[Near]:
    """Pairs of rows whose Jaccard similarity is at least `threshold`, equal texts included, in the order of the rows.

    Without `right`, pairs within `left`, each once, the earlier row first. Compared are the n-grams of characters of
    the first 10,000 characters, without case and punctuation: of 3 characters, or of 5 where most texts are
    documents, because any two documents share most of the triples of their language. The same texts give the same
    pairs. A pair at the threshold is missed once in 300 times; of crowds of more than 100 rows that look alike, each
    row is compared with the first 100 or so, which bounds the work.
    """
    texts = [_plain(text) for text in (*left, *(right or ()))]
    length = _LONG if np.median([len(text) for text in texts] or [0]) > _DOCUMENT else _SHORT
    shingles = [_shingles(text, length) for text in texts]
    first = 0 if right is None else len(left)
    pairs = [
        Near(other, row - first, similarity)
        for row, met in _meetings(shingles, indexed=len(left), first=first)
        for other in met
        if (similarity := _jaccard(shingles[other], shingles[row])) >= threshold
    ]
    return sorted(pairs)


def _meetings(shingles: Sequence[Shingles], *, indexed: int, first: int) -> Iterator[tuple[int, list[int]]]:
    """For each row from `first` on, the earlier ones among the first `indexed` rows that it may resemble."""
    from datasketch import MinHash, MinHashLSH  # half a second, which commands without data need not pay

    size = _BANDS * _BAND_ROWS
    index = MinHashLSH(num_perm=size, params=(_BANDS, _BAND_ROWS))
    numbers = ((row >> np.uint64(32)).tolist() for row in shingles)
    for row, signature in enumerate(MinHash.generator(numbers, num_perm=size, hashfunc=int)):
        met = index.query(signature)
        # No bucket grows beyond the crowd, whatever the data; else a template filled in 10,000 times costs its square.
        if row < indexed and len(met) < CROWD:
            index.insert(row, signature, check_duplication=False)
        if row >= first:
            yield row, met


def _jaccard(one: Shingles, two: Shingles) -> float:
    shared = len(np.intersect1d(one, two, assume_unique=True))
    return shared / (len(one) + len(two) - shared)


def _shingles(plain: str, length: int) -> Shingles:
    codes = np.frombuffer(f" {plain} ".ljust(length).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = len(codes) - length + 1
    grams = codes[:count].copy()
    for offset in range(1, length):
        grams = grams * _FACTOR + codes[offset : offset + count]
    return np.unique(grams * _FACTOR)  # the high half must depend on the last character too


def _plain(text: str) -> str:
    """`text` without case, punctuation and more than one space at a time, unless nothing is left of it then."""
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    return " ".join(folded.translate(_punctuation()).split()) or folded


@lru_cache
def _punctuation() -> dict[int, None]:
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}
