"""What each word adds to an answer: the probability of the label with it, minus without it ("leave one out").

Li, Monroe & Jurafsky 2016, "Understanding Neural Networks through Representation Erasure", with the word cut out. It
tells what the model does with this text, not what a word means; words that say the same hide each other.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from pipelines.serve.limits import WORDS
from pipelines.serve.schema import Influence, Prediction, Word

Ask = Callable[[Sequence[str]], Awaitable[list[Prediction]]]
"""Asks the model about some texts."""


async def influence(text: str, prediction: Prediction, *, ask: Ask, batch: int) -> Influence:
    """The effect of each word on the probability of the predicted label; of the first `limits.WORDS` words.

    The texts without a word are asked in parts of `batch`, so that other requests come in between.
    """
    label, spans = prediction.label, words(text)
    without = [text[:start] + text[end:] for start, end in spans]
    effects: list[float] = []
    for first in range(0, len(without), batch):
        answers = await ask(without[first : first + batch])
        effects += [prediction.probability - one.probabilities[label] for one in answers]
    place = utf16_offsets(text)
    found = [
        Word(start=place[start], end=place[end], effect=effect)
        for (start, end), effect in zip(spans, effects, strict=True)
    ]
    return Influence(label=label, words=found)


def words(text: str) -> list[tuple[int, int]]:
    """Start and end of the words of a text, which are what stands between blanks; the first `limits.WORDS` of them."""
    return [match.span() for match in islice(re.finditer(r"\S+", text), WORDS)]


def utf16_offsets(text: str) -> list[int]:
    """For each place in a text, its end included, the UTF-16 code units before it: what JavaScript counts."""
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + (2 if character > "\uffff" else 1))
    return offsets
