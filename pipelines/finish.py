"""A winner's last steps before it is judged: calibrated, with golden predictions, and sealed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.answers import answers
from pipelines.calibration import CalibrationFacts, calibrate, tempered
from pipelines.data import open_dataset
from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE, read_facts, seal
from pipelines.files import copied, new_directory
from pipelines.golden import GOLDEN_FILE, TOLERANCE, Golden, golden_texts, write_golden
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model
from pipelines.segment import FinishJob, Watch

_WEIGHTS = "model.safetensors"
_MADE_HERE = (FACTS_FILE, GOLDEN_FILE, "README.md")
_NO_LAST_LAYER = "The model does not end in a linear layer that could hold a temperature, so none was fitted."


def finish_model(job: FinishJob, *, watch: Watch) -> CalibrationFacts:
    """Make the model that is shipped out of a trained one: calibrated on its split, proven, whole or not at all.

    The trained model stays untouched, so this may be done again at any time, with the same result. The temperature goes
    into the last layer's weights, so that every tool that loads them gives the calibrated probabilities. Raises
    `ModelError` when the model cannot be used or does not know the classes of the data.
    """
    classifier = open_model(job.model)
    layer = last_layer(classifier)
    predictions = answers(classifier, open_dataset(job.data), "calibrate", watch=watch)
    facts = calibrate(predictions, temperature=job.temperature and layer is not None, metric=job.threshold)
    facts = _in_order(facts, predictions.names, classifier.labels)
    if job.temperature and layer is None:
        facts = replace(facts, notes=(_NO_LAST_LAYER, *facts.notes))
    with new_directory(job.output) as beside:
        copied(job.model, beside, leaving_out=_MADE_HERE)
        if layer is not None and facts.temperature != 1.0:
            _divide(job.model / _WEIGHTS, beside / _WEIGHTS, layer=layer, temperature=facts.temperature)
        ours = replace(read_facts(job.model), calibration=facts)
        seal(beside, ours)  # the classifier reads it
        golden = write_golden(Classifier(beside, device="cpu"), beside)
        seal(beside, ours)
        _compare(golden, classifier, facts.temperature)
    return facts


def _in_order(facts: CalibrationFacts, ours: tuple[str, ...], theirs: tuple[str, ...]) -> CalibrationFacts:
    """The facts with thresholds in the order of the model's classes, whatever that of the data is."""
    thresholds = facts.thresholds
    return replace(facts, thresholds=thresholds and tuple(thresholds[ours.index(label)] for label in theirs))


def last_layer(classifier: Classifier) -> str | None:
    """The name of the linear layer whose output is the logits; None for a model that has none.

    It is found by trying, whether half of its weights gives half of the logits: no list of architectures is needed.
    """
    linear = [(name, part) for name, part in classifier.model.named_modules() if isinstance(part, nn.Linear)]
    ends = [(name, part) for name, part in linear if part.out_features == len(classifier.labels)]
    if not ends:
        return None
    name, layer = ends[-1]
    texts = golden_texts(classifier.max_length)
    expected = tempered(classifier.probabilities(texts), 2.0)
    _scale(layer, 0.5)
    found = classifier.probabilities(texts)
    _scale(layer, 2.0)  # powers of two: the weights are what they were, to the bit
    return name if np.allclose(found, expected, rtol=0.0, atol=TOLERANCE) else None


@torch.no_grad()
def _scale(layer: nn.Linear, factor: float) -> None:
    for weight in layer.parameters():
        weight.mul_(factor)


def _divide(source: Path, target: Path, *, layer: str, temperature: float) -> None:
    """Divide the layer's weights, and its bias where it has one; all others stay, to the bit."""
    weights = load_file(source)
    for name in [name for name in (f"{layer}.weight", f"{layer}.bias") if name in weights]:
        weights[name] = (weights[name].double() / temperature).to(weights[name].dtype)
    save_file(weights, target, metadata={"format": "pt"})


def _compare(golden: Golden, trained: Classifier, temperature: float) -> None:
    """Raise `ModelError` where the finished model is not the trained one at this temperature."""
    expected = tempered(trained.probabilities(golden.texts), temperature)
    difference = float(abs(golden.probabilities - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{trained.directory}: calibrated, it answers otherwise (by {difference:.1e}); nothing is shipped"
        )
