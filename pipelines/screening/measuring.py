"""Measure one checkpoint: load it, embed the sample, score the embeddings, time a few training steps."""

import gc
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.config import RunConfig, TokensConfig, replaced
from pipelines.cost import Cost, Facts, Law, Point, fit, probe_shapes, trial_seconds
from pipelines.data import Dataset
from pipelines.device import choose_precision, device, forget_peak, peak_memory, with_precision
from pipelines.engine import speed_up
from pipelines.files import digest
from pipelines.models import Pretrained, load_pretrained, longest_input, new_classifier
from pipelines.probe import nearest_rows, part_of, time_steps
from pipelines.screening.embedding import Embedded, embed
from pipelines.screening.licence import stated_license
from pipelines.screening.linear import linear_probe
from pipelines.screening.measures import Measures
from pipelines.screening.sample import Sample
from pipelines.screening.transferability import h_score, logme
from pipelines.segment import Choice, InfeasibleError, Unwatched
from pipelines.tokens import Encoded, cached
from pipelines.train import Material, new_trainee

_STEP_TOKENS = 512  # of a training step that is timed: what larger ones take follows from it
_ROUNDS = 2  # the first one allocates
# A full fine-tuning trains everything, plainly.
_FULL = {
    "train.frozen_layers": 0, "train.freeze_embeddings": False, "train.layer_decay": 1.0, "lora.rank": 0,
    "train.gradient_checkpointing": False, "train.compile": "off", "train.micro_batch_size": None,
}  # fmt: skip


def measure(config: RunConfig, dataset: Dataset, sample: Sample, *, cache: Path) -> Measures:
    """Everything about the checkpoint of `config`, which also says what a full fine-tuning of it would be.

    Encoded texts are kept under `cache`. Raises `ModelError` for a checkpoint that cannot be used.
    """
    config = with_precision(config, choose_precision(config.train.precision, cache=cache).value)
    _load_libraries()
    pretrained = load_pretrained(config.model, labels=dataset.labels)
    began = time.perf_counter()  # what was fetched and loaded until here, a training needs as well
    encoded = _encoded(pretrained, config.tokens, dataset=dataset, sample=sample, cache=cache)
    embedded, network, memory = _embedded(pretrained, encoded, bf16=config.train.precision == "bf16")
    labels = sample.labels
    found = Measures(
        name=config.model.name,
        label=config.model.name,
        license=stated_license(config.model),
        architecture=str(pretrained.config.model_type),
        layers=getattr(pretrained.config, "num_hidden_layers", None),
        width=embedded.features.shape[1],
        parameters=sum(weight.numel() for weight in network.parameters()),
        logme=logme(embedded.features, labels),
        h_score=h_score(embedded.features, labels),
        linear=linear_probe(embedded.features, sample),
        seconds_per_1000=1000 * embedded.seconds / len(encoded),
        memory=memory,
        seconds=0.0,
        fine_tuning=None,
    )
    material = Material(encoded, labels, pretrained.tokenizer.pad_token_id)
    price = _fine_tuning(config, network, material, dataset=dataset, points=embedded.points)
    return replace(found, seconds=time.perf_counter() - began, fine_tuning=price)


def _load_libraries() -> None:
    """What any training has to load as well, and only the first checkpoint would pay for."""
    import accelerate  # noqa: F401
    import sklearn.covariance
    import sklearn.linear_model
    import sklearn.model_selection
    import sklearn.pipeline  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401


def _encoded(pretrained: Pretrained, tokens: TokensConfig, *, dataset: Dataset, sample: Sample, cache: Path) -> Encoded:
    limit = longest_input(pretrained.config) or tokens.max_length
    return cached(
        sample.texts,
        digest(dataset.digest, "screening", str(len(sample.texts)), str(sample.seed)),
        tokenizer=pretrained.tokenizer,
        config=tokens.model_copy(update={"max_length": min(tokens.max_length, limit)}),
        home=cache,
    )


def _embedded(pretrained: Pretrained, encoded: Encoded, *, bf16: bool) -> tuple[Embedded, nn.Module, float]:
    """The embeddings, the network that made them, and the bytes that it needed beside the checkpoint in memory."""
    where = device()
    gc.collect()
    before = _held(where)
    network = new_classifier(pretrained, dropout=None, seed=0).eval().to(where)
    forget_peak(where)
    embedded = embed(network, encoded, pretrained.tokenizer.pad_token_id, bf16=bf16)
    weights = sum(weight.nbytes for weight in network.parameters())
    return embedded, network, max(peak_memory(where) - before, float(weights))


def _held(where: torch.device) -> float:
    return float(torch.cuda.memory_allocated() if where.type == "cuda" else psutil.Process().memory_info().rss)


def _fine_tuning(
    config: RunConfig, network: nn.Module, material: Material, *, dataset: Dataset, points: tuple[Point, ...]
) -> float | None:
    """Seconds of one full fine-tuning, with its evaluations, from a few steps of it; the network is not of use after.

    The sample's lengths stand for those of all rows. None where a step needs more memory than there is.
    """
    full = replaced(config, _FULL)
    speed_up(network, tokens=material.encoded.vocabulary(), cpu=device().type == "cpu")
    try:
        endless = replaced(full, {"train.epochs": 1000.0})
        trainee = new_trainee(endless, network, material.labels, classes=len(dataset.labels))
        shapes = probe_shapes(material.encoded.lengths, (full.train.batch_size,) * 2, tokens=_STEP_TOKENS)
        parts = [part_of(material, nearest_rows(material, *shape)) for shape in shapes]
        steps, _ = time_steps(trainee, parts, watch=Unwatched(), rounds=_ROUNDS)
        trainee.accelerator.free_memory()
    except (InfeasibleError, torch.OutOfMemoryError):
        return None
    facts = Facts(
        latency=0.0,
        prepare=0.0,
        start_up=0.0,
        weights=0,
        train_lengths=_counts(material.encoded.lengths, len(dataset.splits["train"])),
        select_lengths=_counts(material.encoded.lengths, len(dataset.splits["select"])),
        precision=Choice(full.train.precision, ""),
        compile=Choice("off", ""),
        device_memory=None,
    )
    taken = trial_seconds(Cost(fit(steps), fit(points), Law(0.0, 0.0, 0.0), facts), full)
    return taken["train"] + taken["evaluate"]


def _counts(lengths: NDArray[np.int64], rows: int) -> tuple[int, ...]:
    """How many of `rows` texts have 0, 1, 2 ... tokens, if they are like these."""
    share = np.bincount(lengths) / len(lengths)
    return tuple(np.diff(np.round(np.cumsum(share) * rows), prepend=0).astype(int).tolist())
