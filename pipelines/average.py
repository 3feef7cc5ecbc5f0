"""The mean of several trainings' weights as one model ("model soup", Wortsman et al. 2022).

Trainings of one configuration from one pretrained checkpoint often end in the same basin: the mean of their weights is
then a model too, and often better than each of them, at the cost of one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipelines.answers import answers
from pipelines.data import open_dataset
from pipelines.export import FACTS_FILE, read_facts, seal
from pipelines.files import copied, new_directory, read_json, write_json
from pipelines.loader import open_model, verify
from pipelines.report import write_report
from pipelines.scores import score
from pipelines.segment import AverageJob, SegmentResult, Watch

_WEIGHTS = "model.safetensors"
_OF_THE_ARCHITECTURE = ("parameters", "trained_parameters", "latency_ms")  # scores that all of them share


def average_models(job: AverageJob, *, watch: Watch) -> SegmentResult:
    """Average the weights of trained models, and score the result on the select split, like a training.

    Idempotent: what lies on disk already is returned. Raises `ModelError` for a model that cannot be used.
    """
    if (finished := read_json(job.directory / "result.json")) is not None:
        return SegmentResult(**finished)
    _write_mean(job.models, job.directory / "model")
    predictions = answers(open_model(job.directory / "model"), open_dataset(job.data), "select", watch=watch)
    write_report(predictions, job.directory / "artifacts")
    first = job.models[0].parent
    write_json(job.directory / "artifacts" / "config.json", read_json(first / "artifacts" / "config.json"))
    known: dict[str, Any] = read_json(first / "result.json")["scores"]
    scores = score(predictions) | {name: known[name] for name in _OF_THE_ARCHITECTURE if name in known}
    result = SegmentResult(step=1, examples=0, total_steps=1, scores=scores, finished=True, seconds={})
    write_json(job.directory / "result.json", vars(result))
    return result


def _write_mean(models: Sequence[Path], directory: Path) -> None:
    """One model with the mean weights of all, and everything else of the first; whole or not at all."""
    for model in models:
        verify(model)
    with new_directory(directory) as beside:
        copied(models[0], beside, leaving_out=(FACTS_FILE, _WEIGHTS))
        save_file(mean_weights(models), beside / _WEIGHTS, metadata={"format": "pt"})
        seal(beside, read_facts(models[0]))


def mean_weights(models: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of each tensor over the models, summed up in double precision; whole numbers are the first one's.

    One model after the other is in memory. Raises `ValueError` where they do not have the same tensors.
    """
    first = load_file(models[0] / _WEIGHTS)
    sums = {name: tensor.double() for name, tensor in first.items() if tensor.is_floating_point()}
    for model in models[1:]:
        weights = load_file(model / _WEIGHTS)
        if weights.keys() != first.keys() or any(weights[name].shape != first[name].shape for name in first):
            raise ValueError(f"{model} is of another architecture than {models[0]}")
        for name, total in sums.items():
            total += weights[name].double()
    return first | {name: (total / len(models)).to(first[name].dtype) for name, total in sums.items()}
