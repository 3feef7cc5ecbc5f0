"""The texts that tokenizers are measured on, and what is the same for all tokenizers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.scratch.tokenizer import drawn

SAMPLE = 10_000
"""Of more texts, so many are drawn: rates of 10,000 texts are known to a fraction of a per cent."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Some texts, with their words and characters counted once."""

    texts: list[str]
    available: int
    """How many texts they were drawn from."""

    @classmethod
    def of(cls, texts: Sequence[str], limit: int = SAMPLE) -> "Corpus":
        """A sample of at most `limit` texts."""
        return cls(drawn(texts, limit), len(texts))

    @cached_property
    def words(self) -> Counter[str]:
        """How often each word occurs. A word is what stands between white space, punctuation included."""
        return Counter(word for text in self.texts for word in text.split())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(texts + 1,) where each text begins when all are written end to end, in characters (code points)."""
        return np.concatenate([[0], np.cumsum([len(text) for text in self.texts])]).astype(np.int64)

    @cached_property
    def visible(self) -> NDArray[np.bool_]:
        """(characters,) which characters of the texts, end to end, are no white space."""
        points = np.frombuffer("".join(self.texts).encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
        kinds, place = np.unique(points, return_inverse=True)
        seen: NDArray[np.bool_] = np.array([not chr(point).isspace() for point in kinds.tolist()], dtype=bool)[place]
        return seen
