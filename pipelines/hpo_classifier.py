"""Texts in, class probabilities out, from an exported model directory.

This file travels inside every registered model, so that MLflow's own tools give the answers that ours give. It must
not import anything of this project.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_BATCH_TOKENS = 8_192  # padding included: bounds the memory of one forward pass


class Classifier:
    """A fine-tuned classifier in memory. Reads safetensors and JSON only, and never from the network."""

    def __init__(self, directory: str | Path, *, device: str | None = None) -> None:
        """Load the directory that `export_model` wrote; `device` defaults to the accelerator where there is one."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.directory = Path(directory)
        facts = json.loads((self.directory / "hpo.json").read_text(encoding="utf-8"))
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        self.max_length: int = facts["max_length"]
        thresholds = (facts.get("calibration") or {}).get("thresholds")
        self.thresholds: tuple[float, ...] | None = thresholds and tuple(thresholds)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(str(directory), **local)
        self.tokenizer.truncation_side = "right" if facts["truncation"] == "head" else "left"
        self.model, report = AutoModelForSequenceClassification.from_pretrained(
            str(directory), use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
        )
        if report["missing_keys"]:  # transformers would draw them at random, and answer
            raise ValueError(f"the weights lack {sorted(report['missing_keys'])[0]}")
        self.model.to(self.device).eval()

    def predicted(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the class that each row of `probabilities` is answered with, (texts,).

        The most probable one; where the model has thresholds, the one with the largest probability / threshold.
        """
        weighed = probabilities if self.thresholds is None else probabilities / np.array(self.thresholds)
        return np.asarray(weighed.argmax(axis=1), dtype=np.int64)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str], *, each: Callable[[], None] = lambda: None) -> NDArray[np.float64]:
        """Probability of every class for every text, (texts, classes); rows sum to 1. `each` is called now and then."""
        if not texts:  # the tokenizers fail on an empty list
            return np.empty((0, len(self.labels)))
        encoding = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_length, return_attention_mask=False
        )["input_ids"]
        rows = [ids or [self.tokenizer.pad_token_id] for ids in encoding]
        result = np.empty((len(rows), len(self.labels)))
        for batch in _batches([len(row) for row in rows]):
            result[batch] = self._forward([rows[index] for index in batch])
            each()
        return result

    def _forward(self, rows: list[list[int]]) -> NDArray[np.float64]:
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.tokenizer.pad_token_id, dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        mask = (np.arange(width) < np.array([[len(row)] for row in rows])).astype(np.int64)
        logits = self.model(
            input_ids=torch.from_numpy(ids).to(self.device), attention_mask=torch.from_numpy(mask).to(self.device)
        ).logits
        probabilities: NDArray[np.float64] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
        return probabilities


def _batches(lengths: list[int]) -> list[list[int]]:
    """All rows, shortest first, at most `_BATCH_TOKENS` tokens with padding in each batch."""
    batches: list[list[int]] = [[]]
    for index in np.argsort(lengths, kind="stable").tolist():
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]
