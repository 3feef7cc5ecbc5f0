"""What a stored model says of rows: encoded once and kept, in batches of similar length, as in training."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.batches import EVALUATION_TOKENS, evaluation_batches
from pipelines.config import TokensConfig
from pipelines.data import Dataset
from pipelines.engine.lastlayer import pool_early
from pipelines.errors import ModelError
from pipelines.export import read_facts
from pipelines.generalize.external import ROWS
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model
from pipelines.predictions import NonFiniteError, Predictions
from pipelines.segment import Watch
from pipelines.tokens import Encoded, cached, content_of, encode


def ready(directory: Path) -> Classifier:
    """A stored model, verified and loaded, that answers in less time and as ever. Raises `ModelError`."""
    classifier = open_model(directory)
    pool_early(classifier.model)
    return classifier


def answers_on(classifier: Classifier, dataset: Dataset, *, cache: Path, watch: Watch) -> Predictions:
    """The model's answers on the rows of an external data set, whose classes are in the model's order.

    The encoded texts are kept under `cache`. Raises `ModelError` where the tokenizer knows almost none of the texts, or
    the answers are not finite.
    """
    rows = dataset.splits[ROWS]
    encoded = cached(
        rows.texts,
        content_of(dataset.digest, ROWS),
        tokenizer=classifier.tokenizer,
        config=reading_of(classifier),
        home=cache,
    )
    try:
        return Predictions(
            ids=list(rows.ids),
            texts=list(rows.texts),
            labels=rows.labels,
            probabilities=_probabilities(classifier, encoded, watch=watch),
            names=classifier.labels,
            thresholds=classifier.thresholds,
        )
    except NonFiniteError as error:
        raise ModelError(f"on {dataset.name} {error}; the model cannot be used there") from error


def probabilities_of(classifier: Classifier, texts: Sequence[str], *, watch: Watch) -> NDArray[np.float64]:
    """The same for texts that are not worth keeping: (texts, classes)."""
    if not texts:
        return np.empty((0, len(classifier.labels)))
    encoded = encode(texts, classifier.tokenizer, reading_of(classifier))
    return _probabilities(classifier, encoded, watch=watch)


def reading_of(classifier: Classifier) -> TokensConfig:
    """How the model reads texts, as it was trained."""
    facts = asdict(read_facts(classifier.directory))
    return TokensConfig(**{name: facts[name] for name in TokensConfig.model_fields if name in facts})


@torch.inference_mode()
def _probabilities(classifier: Classifier, encoded: Encoded, *, watch: Watch) -> NDArray[np.float64]:
    """(rows, classes) in fp32, as the model answers wherever it is used."""
    found = np.empty((len(encoded), len(classifier.labels)))
    pad = classifier.tokenizer.pad_token_id or 0
    for rows in evaluation_batches(encoded.lengths, tokens=EVALUATION_TOKENS):
        watch.tell({})  # signs of life
        ids, mask = (torch.from_numpy(part).to(classifier.device) for part in encoded.padded(rows, pad))
        logits = classifier.model(input_ids=ids, attention_mask=mask).logits
        found[rows] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
    return found
