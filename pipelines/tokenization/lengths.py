"""What each `max_length` would cut, and which one to take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.tokenization.corpus import Corpus

if TYPE_CHECKING:
    from pipelines.tokenization.measuring import Pieces

USUAL = (16, 32, 64, 128, 256, 512)
"""The lengths that are always looked at, as far as the model has positions."""
LONG = (1024, 2048, 4096, 8192)
"""Further ones, as long as anything is cut; 8,192 is the longest that `tokens.max_length` takes."""
TEXTS, CHARACTERS = 0.01, 0.005
"""What a recommended length may cut at most: shares of texts and of characters."""


@dataclass(frozen=True)
class Cut:
    """What one `max_length` costs, where the beginning of a text is kept (`tokens.truncation: head`)."""

    length: int
    """Tokens, special ones included."""
    texts: float
    """Share of texts that are cut."""
    characters: float
    """Share of all characters that stand behind the last token that is kept."""
    tokens: float
    """Tokens of a text that are kept, special ones included, on the average: what training computes."""

    @property
    def is_small(self) -> bool:
        """Whether so little is cut that the length can be recommended."""
        return self.texts <= TEXTS and self.characters <= CHARACTERS


@dataclass(frozen=True)
class Recommended:
    """A `max_length`, and why."""

    length: int
    reason: str


def grid(positions: int | None, lengths: NDArray[np.int64]) -> list[int]:
    """The values of `max_length` that are worth a look, for texts of these lengths (texts,) in tokens."""
    limit = min(positions or LONG[-1], LONG[-1])
    longest = int(lengths.max())
    tried = [length for length in (*USUAL, *LONG) if length <= limit and (length in USUAL or length < 2 * longest)]
    return tried if limit in tried or longest <= max(tried, default=0) else [*tried, limit]


def cuts_of(pieces: "Pieces", corpus: Corpus, *, specials: int, lengths: Sequence[int]) -> tuple[Cut, ...]:
    """The cost of each `max_length`; `specials` tokens are put around each text."""
    counts, sizes = np.diff(pieces.offsets), np.diff(corpus.starts)
    cuts = []
    for length in lengths:
        kept = max(length - specials, 0)
        cut = np.flatnonzero(counts > kept)
        last = pieces.offsets[cut] + kept - 1
        ends = pieces.spans[last, 1] if kept else np.zeros(len(cut), dtype=np.int64)
        cuts.append(
            Cut(
                length=length,
                texts=len(cut) / len(counts),
                characters=float((sizes[cut] - ends).sum() / max(sizes.sum(), 1)),
                tokens=float(np.minimum(counts + specials, length).mean()),
            )
        )
    return tuple(cuts)


def recommend(cuts: Sequence[Cut]) -> Recommended:
    """The smallest length that cuts at most 1 % of the texts and 0.5 % of the characters, else the longest one."""
    place = next((place for place, cut in enumerate(cuts) if cut.is_small), len(cuts) - 1)
    chosen = cuts[place]
    parts = [_cutting("cuts", chosen)]
    if not chosen.is_small:
        parts.append("that is much, but there is no longer one")
    if place > 0:
        parts.append(f"{cuts[place - 1].length} {_cutting('would cut', cuts[place - 1])}")
    if chosen.texts and place + 1 < len(cuts):
        longer = cuts[place + 1]
        more = in_percent(longer.tokens / chosen.tokens - 1)
        parts.append(f"{longer.length} {_cutting('would cut', longer)} and compute {more} more tokens")
    return Recommended(chosen.length, "; ".join(parts))


def in_percent(share: float) -> str:
    """`12.3 %`; only nothing is `0 %` and only all of it `100 %`."""
    if share in {0, 1}:
        return f"{100 * share:.0f} %"
    if share < 0.0005:
        return "under 0.1 %"
    return "over 99.9 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def _cutting(verb: str, cut: Cut) -> str:
    if not cut.texts:
        return f"{verb} nothing"
    return f"{verb} {in_percent(cut.texts)} of the texts and {in_percent(cut.characters)} of the characters"
