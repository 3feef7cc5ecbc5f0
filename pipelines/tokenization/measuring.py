"""What a tokenizer makes of texts: how many tokens, which it does not know, how much of its vocabulary is used."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tokenization.candidates import Candidate
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.lengths import Cut, Recommended, cuts_of, grid, recommend
from pipelines.tokenization.survival import Survival, survivals

_CHUNK = 1_000  # texts per call: bounds the memory that Python lists take
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # how SentencePiece writes the byte of a character that it does not know
_NO_CHARACTER = "\ufffd"


@dataclass(frozen=True, eq=False)
class Pieces:
    """The tokens of all texts, end to end, without special tokens."""

    ids: NDArray[np.int64]
    """(tokens,)"""
    spans: NDArray[np.int64]
    """(tokens, 2) where each token begins and ends within its text, in characters."""
    offsets: NDArray[np.int64]
    """(texts + 1,) the tokens of text `i` are `offsets[i]` to `offsets[i + 1]`."""
    seconds: float
    """What the tokenizer took, without turning its answer into arrays."""


@dataclass(frozen=True)
class Rates:
    """What a tokenizer makes of some texts; special tokens do not count. None where it makes nothing of them."""

    tokens_per_word: float | None
    """Fertility (Rust et al. 2021): tokens by words, a word being what stands between white space."""
    characters_per_token: float | None
    """Characters (code points, white space included) by tokens."""
    unknown: float | None
    """Share of tokens that are the unknown token."""
    lost: float
    """Share of characters other than white space that stand in an unknown token or in no token at all."""
    byte_fallback: float | None
    """Share of tokens that are a piece of a character: `<0xE2>`, or bytes that are no character by themselves."""


@dataclass(frozen=True, eq=False)
class Measures:
    """All that is measured of one tokenizer."""

    candidate: Candidate
    seen: Rates
    """On the train split's texts, which trained tokenizers were made from."""
    unseen: Rates | None
    """On the select split's texts; None where there are none."""
    used: float
    """Share of the vocabulary that occurs in the train split's texts."""
    lengths: NDArray[np.int64]
    """(texts,) tokens of each text, special ones included."""
    cuts: tuple[Cut, ...]
    """What each `max_length` costs, by rising length."""
    survival: Mapping[str, Survival]
    """What is left of case, accents and so on, by property."""
    texts_per_second: float
    """Encoded here, with as many threads as the library takes, in one pass."""

    @property
    def is_broken(self) -> bool:
        """Whether most tokens or characters are unknown: the vocabulary is missing, or is of another script."""
        return self.seen.unknown is None or self.seen.unknown > 0.5 or self.seen.lost > 0.5

    @property
    def cuts_by_length(self) -> dict[int, Cut]:
        """The same, by `max_length`."""
        return {cut.length: cut for cut in self.cuts}

    @property
    def recommended(self) -> Recommended:
        """The `max_length` to take."""
        return recommend(self.cuts)

    @property
    def settings(self) -> dict[str, str | int]:
        """What a study that takes this tokenizer and length says, by address."""
        named = {"model.name": self.candidate.model} if self.candidate.model is not None else {}
        return {**named, "tokens.max_length": self.recommended.length}


def measure(candidate: Candidate, corpus: Corpus, unseen: Corpus | None) -> Measures:
    """Everything about one tokenizer on `corpus`, and its rates on the `unseen` texts."""
    pieces = pieces_of(candidate.backend, corpus)
    lengths = np.diff(pieces.offsets) + candidate.specials
    return Measures(
        candidate=candidate,
        seen=rates(candidate, corpus, pieces),
        unseen=rates(candidate, unseen, pieces_of(candidate.backend, unseen)) if unseen else None,
        used=len(np.unique(pieces.ids)) / max(candidate.size, 1),
        lengths=lengths,
        cuts=cuts_of(pieces, corpus, specials=candidate.specials, lengths=grid(candidate.positions, lengths)),
        survival=survivals(candidate.backend, corpus.words),
        texts_per_second=len(corpus.texts) / max(pieces.seconds, 1e-9),
    )


def pieces_of(backend: Any, corpus: Corpus) -> Pieces:
    """The tokens that a tokenizers.Tokenizer makes of all texts, none of them cut."""
    ids, spans, counts, seconds = [], [], [0], 0.0
    for start in range(0, len(corpus.texts), _CHUNK):
        began = time.perf_counter()
        encodings = backend.encode_batch(corpus.texts[start : start + _CHUNK], add_special_tokens=False)
        seconds += time.perf_counter() - began
        for encoding in encodings:
            ids.append(np.asarray(encoding.ids, dtype=np.int64))
            spans.append(np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2))
            counts.append(len(encoding))
    return Pieces(np.concatenate(ids), np.concatenate(spans), np.cumsum(counts), seconds)


def rates(candidate: Candidate, corpus: Corpus, pieces: Pieces) -> Rates:
    """What the tokenizer made of the texts, as shares."""
    tokens, characters = len(pieces.ids), len(corpus.visible)
    unknown = pieces.ids == (-1 if candidate.unknown is None else candidate.unknown)
    covered = _covered(corpus, pieces, ~unknown)
    lost = 1 - (covered & corpus.visible).sum() / max(corpus.visible.sum(), 1)
    if not tokens:
        return Rates(None, None, None, float(lost), None)
    return Rates(
        tokens_per_word=tokens / max(corpus.words.total(), 1),
        characters_per_token=characters / tokens,
        unknown=float(unknown.mean()),
        lost=float(lost),
        byte_fallback=_fragments(candidate.backend, pieces.ids),
    )


def _covered(corpus: Corpus, pieces: Pieces, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(characters,) which characters of the texts, end to end, stand in a token that is known."""
    base = np.repeat(corpus.starts[:-1], np.diff(pieces.offsets))[known]
    edges = np.zeros(len(corpus.visible) + 1, dtype=np.int64)
    for column, step in ((0, 1), (1, -1)):
        edges += step * np.bincount(base + pieces.spans[known, column], minlength=len(edges))
    return np.cumsum(edges)[:-1] > 0


def _fragments(backend: Any, ids: NDArray[np.int64]) -> float:
    """The share of tokens that are a piece of a character: alone they decode to no character."""
    used, counts = np.unique(ids, return_counts=True)
    decoded = backend.decode_batch([[token] for token in used.tolist()], skip_special_tokens=False)
    names = [backend.id_to_token(token) for token in used.tolist()]
    parts = [
        bool(_BYTE.fullmatch(name)) or (_NO_CHARACTER in text and _NO_CHARACTER not in name)
        for name, text in zip(names, decoded, strict=True)
    ]
    return float(counts[parts].sum() / counts.sum())
