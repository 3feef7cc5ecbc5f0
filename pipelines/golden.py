"""Golden predictions: what a model said about a few fixed texts when it was written, to compare with wherever it loads.

The texts are ours, never a user's. They try what tokenizers and truncation get wrong: accents, scripts, emoji, digits,
blanks, nothing at all, and more than the model reads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.files import read_json, write_json

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier

GOLDEN_FILE = "golden.json"
TOLERANCE = 1e-5
"""How far a probability may be from its golden one: other processors and versions add in another order."""

_SHORT = (
    "A warm and funny film.",
    "Two hours that nobody gives me back, and not one line worth repeating.",
    "It was not bad, but I would not call it good either.",
    "THE WHOLE SENTENCE IS SHOUTED!!!",
    "the naïve café owner's façade, a crème brûlée, señor Ærø and the cœur of it",
    "🙂🙃 loved it ❤️ 👩‍👩‍👧 🇫🇮",
    "日本語の短い文です。",
    "نص عربي قصير",
    "3.14159, 1,000,000 and 2026-11-25",
    "?!",
    "e\u0301 and é look the same",
    "tabs\tand\nnew lines   and blanks",
    '<b>not</b> markup & "quotes" \\ slashes',
    " ",
    "",
)
_CLAUSE = "the plot was thin, and the music carried it; "
_WORDS = len(_CLAUSE.split())
_MOST_WORDS = 1200  # of the long text: a model that reads thousands of tokens would take long for no better proof


@dataclass(frozen=True, eq=False)
class Golden:
    """Texts, and the probabilities that were given for them."""

    texts: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(texts, classes)"""

    def difference(self, classifier: "Classifier") -> float:
        """How far a classifier's probabilities are from these, at the most; infinite where they are no numbers."""
        found = abs(classifier.probabilities(self.texts) - self.probabilities).max()
        return float(found) if np.isfinite(found) else float("inf")


def golden_texts(max_length: int) -> tuple[str, ...]:
    """The fixed texts, and one that is longer than a model of `max_length` tokens reads (up to 1,200 words)."""
    words = min(max_length, _MOST_WORDS) + _WORDS
    return (*_SHORT, _CLAUSE * (words // _WORDS))


def write_golden(classifier: "Classifier", directory: Path) -> Golden:
    """Write what the classifier, which must be on the CPU, says of the golden texts; seal the directory afterwards."""
    texts = golden_texts(classifier.max_length)
    golden = Golden(texts, classifier.probabilities(texts))
    write_json(directory / GOLDEN_FILE, {"texts": texts, "probabilities": golden.probabilities.tolist()})
    return golden


def read_golden(directory: Path) -> Golden | None:
    """A model's golden predictions; None where it has none. Raises `ValueError` for a file of another shape."""
    if (values := read_json(directory / GOLDEN_FILE)) is None:
        return None
    try:
        golden = Golden(tuple(values["texts"]), np.array(values["probabilities"], dtype=np.float64))
    except (KeyError, TypeError) as error:
        raise ValueError("texts and probabilities are expected") from error
    sound = golden.probabilities.ndim == 2 and 0 < len(golden.texts) == len(golden.probabilities)
    if not sound or not all(isinstance(text, str) for text in golden.texts):
        raise ValueError("one row of probabilities is expected for each text")
    return golden
