"""Texts in, class probabilities out, from an exported model directory.

This file travels inside every registered model, so that MLflow's own tools give the answers that ours give. It must
not import anything of this project.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_HEAD = 4  # of so many tokens of a text that is cut in its middle, one is of its beginning


@dataclass(frozen=True)
class Reading:
    """How a text becomes tokens: what is done to it first, and what is kept of one that is too long.

    In training and in use alike: both call `rows`. The settings are those of `tokens` in a study.
    """

    max_length: int
    """Tokens at most, special tokens included."""
    truncation: str = "head"
    """`head`, `tail`, or `head_tail`: a quarter of the tokens of the beginning and three of the end, inside the special
    tokens (Sun et al. 2019, "How to fine-tune BERT for text classification?": 128 and 382 of 510)."""
    lowercase: bool = False
    normalize: str = "none"
    """`nfkc`: Unicode's NFKC, and each run of white space is one blank."""

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Reading":
        """How a model with these facts reads (`hpo.json`); those of older releases do not name all settings."""
        return cls(**{field.name: facts[field.name] for field in fields(cls) if field.name in facts})

    def prepared(self, text: str) -> str:
        """What the tokenizer is given of a text."""
        if self.normalize == "nfkc":
            text = " ".join(unicodedata.normalize("NFKC", text).split())
        return text.lower() if self.lowercase else text

    def rows(self, texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
        """Token ids of each text, special tokens included; a text that has none is one padding token.

        `tokenizer` is a fast one of transformers; the side on which it cuts is set.
        """
        if not texts:  # the tokenizers fail on an empty list
            return []
        whole = self.truncation == "head_tail"
        tokenizer.truncation_side = "right" if self.truncation == "head" else "left"
        encoding = tokenizer(
            [self.prepared(text) for text in texts],
            truncation=not whole,
            max_length=None if whole else self.max_length,
            return_attention_mask=False,
            verbose=False,  # it would warn of what is cut below
        )
        rows: list[list[int]] = encoding["input_ids"]
        if whole:
            rows = [
                ids if len(ids) <= self.max_length else self._ends(ids, encoding.sequence_ids(index))
                for index, ids in enumerate(rows)
            ]
        return [ids or [tokenizer.pad_token_id or 0] for ids in rows]

    def _ends(self, ids: list[int], of_text: list[int | None]) -> list[int]:
        """A row without the middle of its text; `of_text` is None at the places of special tokens."""
        places = [place for place, which in enumerate(of_text) if which is not None]
        first, end = places[0], places[-1] + 1
        room = max(0, self.max_length - len(ids) + end - first)
        head = -(-room // _HEAD)
        return [*ids[: first + head], *ids[end - (room - head) :]]


class Answers:
    """Texts in, probabilities out, whatever computes the logits."""

    batch_tokens = 8_192
    """Tokens of a batch at most, padding included: bounds the memory of one forward pass."""

    def __init__(self, directory: str | Path) -> None:
        """Read tokenizer and facts from the directory that `export_model` wrote."""
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.directory = Path(directory)
        facts = json.loads((self.directory / "hpo.json").read_text(encoding="utf-8"))
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        self.reading = Reading.of(facts)
        thresholds = (facts.get("calibration") or {}).get("thresholds")
        self.thresholds: tuple[float, ...] | None = thresholds and tuple(thresholds)
        self.tokenizer = AutoTokenizer.from_pretrained(str(directory), **_LOCAL)

    @property
    def max_length(self) -> int:
        """Tokens that it reads of a text at most, special tokens included."""
        return self.reading.max_length

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as in training, special tokens included, without padding; none is empty."""
        return self.reading.rows(texts, self.tokenizer)

    def predicted(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the class that each row of `probabilities` is answered with, (texts,).

        The most probable one; where the model has thresholds, the one with the largest probability / threshold.
        """
        weighed = probabilities if self.thresholds is None else probabilities / np.array(self.thresholds)
        return np.asarray(weighed.argmax(axis=1), dtype=np.int64)

    def probabilities(self, texts: Sequence[str], *, each: Callable[[], None] = lambda: None) -> NDArray[np.float64]:
        """Probability of every class for every text, (texts, classes); rows sum to 1. `each` is called now and then."""
        rows = self.encode(texts)
        result = np.empty((len(rows), len(self.labels)))
        batches = _batches([len(row) for row in rows], self.batch_tokens)
        computed = self._computed([[rows[index] for index in batch] for batch in batches])
        for batch, found in zip(batches, computed, strict=True):
            result[batch] = found
            each()
        return result

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """(texts, classes) of token ids and attention mask, both (texts, tokens)."""
        raise NotImplementedError

    def _computed(self, batches: list[list[list[int]]]) -> Iterable[NDArray[np.float64]]:
        """The probabilities of each batch of rows, in order."""
        return (softmax(self.logits(*self._padded(rows))) for rows in batches)

    def _padded(self, rows: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.tokenizer.pad_token_id, dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        return ids, (np.arange(width) < np.array([[len(row)] for row in rows])).astype(np.int64)


class Classifier(Answers):
    """A fine-tuned classifier in memory. Reads safetensors and JSON only, and never from the network."""

    def __init__(self, directory: str | Path, *, device: str | None = None) -> None:
        """Load the directory that `export_model` wrote; `device` defaults to the accelerator where there is one."""
        from transformers import AutoModelForSequenceClassification

        super().__init__(directory)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, report = AutoModelForSequenceClassification.from_pretrained(
            str(directory), use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_LOCAL
        )
        if report["missing_keys"]:  # transformers would draw them at random, and answer
            raise ValueError(f"the weights lack {sorted(report['missing_keys'])[0]}")
        self.model.to(self.device).eval()

    @torch.inference_mode()
    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Computed by PyTorch."""
        found: NDArray[np.float32] = (
            self.model(
                input_ids=torch.from_numpy(ids).to(self.device), attention_mask=torch.from_numpy(mask).to(self.device)
            )
            .logits.float()
            .cpu()
            .numpy()
        )
        return found


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities, (rows, classes), in double precision."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)


def _batches(lengths: list[int], tokens: int) -> list[list[int]]:
    """All rows, shortest first, at most so many `tokens` with padding in each batch."""
    batches: list[list[int]] = [[]]
    for index in np.argsort(lengths, kind="stable").tolist():
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > tokens:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]
