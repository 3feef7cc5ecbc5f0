"""Models in memory that answer requests, and which of them is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipelines.serve.refusal import Refusal
from pipelines.serve.schema import ModelName, Prediction, Score

Floats = NDArray[np.float64]


class Runtime(Protocol):
    """What computes: PyTorch's classifier, or one of another library with the same answers."""

    labels: tuple[str, ...]
    max_length: int

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """(texts, classes)"""

    def predicted(self, probabilities: Floats) -> NDArray[np.int64]:
        """The class that each row is answered with, (texts,)."""


@dataclass(frozen=True)
class Facts:
    """What people want to know of a version."""

    card: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    """Of the locked test rows."""
    study: str | None = None
    base_model: str | None = None
    calibrated: bool = False


@dataclass(frozen=True, eq=False)
class Served:
    """One version, ready to answer."""

    name: str
    version: str
    kind: str
    """The runtime's name."""
    runtime: Runtime
    too_long: "TooLong"
    facts: Facts = Facts()

    def answers(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction for each text. Raises `Refusal` (503) where the model gives no numbers."""
        probabilities = self.runtime.probabilities(texts)
        if not np.isfinite(probabilities).all():
            raise Refusal(503, "not_finite", "the model gave no finite probability for this text")
        labels = self.runtime.labels
        best = self.runtime.predicted(probabilities).tolist()
        return [
            Prediction(
                label=labels[index],
                probability=row[index],
                probabilities=dict(zip(labels, row, strict=True)),
                truncated=self.too_long(text),
            )
            for text, row, index in zip(texts, probabilities.tolist(), best, strict=True)
        ]


class TooLong:
    """Whether a text has more tokens than a model reads, special ones included."""

    def __init__(self, directory: Path, max_length: int) -> None:
        """From the `tokenizer.json` of a verified model."""
        self._tokenizer, self._max_length = Tokenizer.from_file(str(directory / "tokenizer.json")), max_length
        self._tokenizer.no_truncation()

    def __call__(self, text: str) -> bool:
        """Whether the end, or the beginning, of this text is not read."""
        return len(self._tokenizer.encode(text)) > self._max_length


class Shelf:
    """The models by slot: an alias, or the number of a version. One thread puts them here, all others read."""

    def __init__(self, main: str) -> None:
        """`main` is the slot that answers where a request names none."""
        self.main = main
        self._models: dict[str, Served] = {}
        self._notices: dict[str, str] = {main: "the model is being loaded"}

    def put(self, slot: str, model: Served) -> None:
        """From now on this model answers there; requests that wait keep the one that they asked."""
        self._models[slot] = model
        self._notices.pop(slot, None)

    def take(self, slot: str) -> None:
        """Nothing answers there any more."""
        self._models.pop(slot, None)

    def look(self, slot: str) -> Served | None:
        """The model of a slot."""
        return self._models.get(slot)

    def loaded(self, version: str) -> Served | None:
        """The model of a version, in whatever slot it is."""
        return next((model for model in self._models.values() if model.version == version), None)

    def notice(self, slot: str) -> str | None:
        """What is wrong with a slot; None: nothing."""
        return self._notices.get(slot)

    def note(self, slot: str, notice: str | None) -> None:
        """Say what is wrong with a slot, or that it is well again."""
        if notice is None:
            self._notices.pop(slot, None)
        else:
            self._notices[slot] = notice

    def ask(self, alias: str | None) -> tuple[Served, ModelName]:
        """Who answers, and the name that the answer carries.

        Raises `Refusal`: 503 while no model is loaded, 404 for an alias without one.
        """
        slot = alias or self.main
        model = self._models.get(slot)
        if model is not None:
            return model, ModelName(name=model.name, version=model.version, alias=None if slot.isdigit() else slot)
        if slot == self.main:
            raise Refusal(503, "no_model", self._notices.get(slot, "no model is loaded"), headers={"Retry-After": "5"})
        raise Refusal(404, "no_such_alias", f"no model is served as {slot}", where="alias")
