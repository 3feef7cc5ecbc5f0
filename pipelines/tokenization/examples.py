"""A few telling texts, and how each tokenizer takes them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.tokenization.candidates import Candidate
from pipelines.tokenization.survival import TRAITS

SHORT = 110
"""Characters: a longer text is no example."""
_MARKS = ("##", "▁", "Ġ")  # what vocabularies begin a piece with to say that it goes on, or begins, a word
_BROKEN = "\ufffd"


@dataclass(frozen=True)
class Piece:
    """One token of an example, as people read it."""

    text: str
    kind: Literal["known", "unknown", "fragment"]
    """A fragment is a piece of a character."""
    begins: bool
    """Whether it begins a word; else it goes on with the one before."""


@dataclass(frozen=True)
class Example:
    """A text and its tokens."""

    text: str
    why: str
    """What makes it telling."""
    pieces: Mapping[str, tuple[Piece, ...]]
    """Its tokens without special ones, by name of the tokenizer."""

    def lines(self) -> dict[str, str]:
        """Its tokens in one line: words apart, pieces of a word joined by a middle dot, what is unknown in brackets."""
        return {name: _in_line(pieces) for name, pieces in self.pieces.items()}


def choose_examples(
    texts: Sequence[str], candidates: Sequence[Candidate], lengths: Sequence[NDArray[np.int64]]
) -> list[Example]:
    """Texts that show most traits (case, accents, emoji, numbers, negations), and the most disputed one.

    `lengths` holds (texts,) tokens of each text, for each candidate. The same texts give the same examples.
    """
    excerpts = [_excerpt(text) for text in texts]
    chosen: dict[str, str] = {}
    for name, trait in TRAITS.items():
        showing = [text for text in excerpts if trait(text)]
        if showing and not any(trait(text) for text in chosen):
            text = min(showing, key=_plainness)
            chosen[text] = f"shows {', '.join(name for name, trait in TRAITS.items() if trait(text))}"
    short = [row for row, text in enumerate(texts) if len(text) <= SHORT]
    if short and len(candidates) > 1:
        table = np.stack([counts[short] for counts in lengths])
        spread = table.max(axis=0) / np.maximum(table.min(axis=0), 1)
        chosen.setdefault(texts[short[int(spread.argmax())]], "the tokenizers differ most")
    return [Example(text, why, {c.name: pieces_of_text(c, text) for c in candidates}) for text, why in chosen.items()]


def _excerpt(text: str) -> str:
    """The text, or its first words where it is long."""
    return text if len(text) <= SHORT else text[:SHORT].rsplit(None, 1)[0]


def _plainness(text: str) -> tuple[int, int, str]:
    """Small for a text with many traits that is not long."""
    return -sum(bool(trait(text)) for trait in TRAITS.values()), len(text), text


def pieces_of_text(candidate: Candidate, text: str) -> tuple[Piece, ...]:
    """The tokens of one text as people read them, without the marks of the vocabulary."""
    encoding = candidate.backend.encode(text, add_special_tokens=False)
    pieces, end = [], 0
    for place, (token, (first, last)) in enumerate(zip(encoding.ids, encoding.offsets, strict=True)):
        # What follows a token made of white space alone goes on with it; so does the second byte of a character.
        after_space = text[first : first + 1].isspace() or text[first - 1 : first].isspace()
        begins = place == 0 or (after_space and first > end) or (first == end and text[first : first + 1].isspace())
        pieces.append(_piece(candidate, token, shown=text[first:last], begins=begins))
        end = last
    return tuple(pieces)


def _piece(candidate: Candidate, token: int, *, shown: str, begins: bool) -> Piece:
    name, alone = candidate.backend.id_to_token(token), candidate.backend.decode([token], skip_special_tokens=False)
    if token == candidate.unknown:
        return Piece(shown.strip() or name, "unknown", begins)
    if _BROKEN in alone and _BROKEN not in name:
        return Piece(_BROKEN, "fragment", begins)
    return Piece(_unmarked(alone), "fragment" if _is_byte(name) else "known", begins)


def _is_byte(name: str) -> bool:
    return name.startswith("<0x") and name.endswith(">")


def _unmarked(alone: str) -> str:
    for mark in _MARKS:
        if len(alone) > len(mark):
            alone = alone.removeprefix(mark)
    return alone.strip() or "␣"


def _in_line(pieces: Sequence[Piece]) -> str:
    parts: list[str] = []
    for piece in pieces:
        shown = f"[{piece.text}]" if piece.kind == "unknown" else piece.text
        parts += [" " if piece.begins else "·", shown]
    return "".join(parts[1:])
