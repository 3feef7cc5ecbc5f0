"""Does an exported model answer as the original does?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.hpo_classifier import Answers


@dataclass(frozen=True)
class Parity:
    """An exported model beside the original, on the same texts."""

    texts: int
    source: str
    """Where the texts are from."""
    agreement: float
    """The share of texts with the same answer."""
    largest_difference: float
    """Of any probability."""
    largest_logit_difference: float
    """Of log probabilities that were centred: logits up to what no answer depends on."""
    accuracy: float | None = None
    """Of the exported model; None where no labels are known."""
    accuracy_change: float | None = None
    """Less that of the original."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare_answers(
    original: Answers,
    exported: Answers,
    texts: Sequence[str],
    *,
    source: str,
    labels: NDArray[np.int64] | None = None,
) -> Parity:
    """Ask both; `labels` (texts,) are class indices in the order of the model's."""
    first, second = original.probabilities(texts), exported.probabilities(texts)
    said, says = original.predicted(first), exported.predicted(second)
    right = None if labels is None else (float((said == labels).mean()), float((says == labels).mean()))
    return Parity(
        texts=len(texts),
        source=source,
        agreement=float((said == says).mean()),
        largest_difference=float(abs(first - second).max()),
        largest_logit_difference=float(abs(_centred(first) - _centred(second)).max()),
        accuracy=right and right[1],
        accuracy_change=right and right[1] - right[0],
    )


def _centred(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.clip(probabilities, 1e-12, None))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True), dtype=np.float64)
