"""A trained model becomes a registered version, with a model card that says how it was made and tested."""

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipelines import registry
from pipelines.card import CardFacts, render_card, without_front_matter
from pipelines.config import RunConfig
from pipelines.data import ATTRIBUTION, Dataset
from pipelines.export import read_facts, seal
from pipelines.families import license_of
from pipelines.files import read_json, sha256, write_text


def register_winner(
    name: str,
    *,
    key: str,
    directory: Path,
    model: Path,
    run_id: str,
    dataset: Dataset,
    test_scores: Mapping[str, float],
    client: MlflowClient,
) -> ModelVersion:
    """The version of a finished `model`, trained in `directory`: found by its key, or registered; both stay as is.

    `key` is `STUDY/TRIAL/...`. The card goes into a copy: a kill before the seal would leave a model that is damaged.
    """
    study, trial, _ = key.split("/")
    with TemporaryDirectory(dir=directory, prefix=".model.", suffix=".tmp") as beside:
        copy = Path(shutil.copytree(model, Path(beside) / "model", copy_function=_link))
        facts = _card_facts(
            name, directory, model, trial=int(trial), run_id=run_id, dataset=dataset, test_scores=test_scores
        )
        card = render_card(facts)
        write_text(copy / "README.md", card)
        seal(copy, read_facts(copy))
        tags = {
            "hpo.study": study,
            "hpo.trial": trial,
            "hpo.weights": sha256(copy / "model.safetensors"),
            registry.DATA: dataset.digest,
            "test.accuracy": f"{test_scores['accuracy']:.4f}",
        }
        return registry.register(client, name, registry.Candidate(key, run_id, copy, without_front_matter(card), tags))


def _link(source: str, target: str) -> None:
    """The same file under another name, where the file system has links; what replaces one leaves the other."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _card_facts(
    name: str,
    directory: Path,
    model: Path,
    *,
    trial: int,
    run_id: str,
    dataset: Dataset,
    test_scores: Mapping[str, float],
) -> CardFacts:
    record: dict[str, Any] = read_json(directory / "trial.json")
    finished = read_facts(model)
    config = RunConfig.model_validate(read_json(directory / "artifacts" / "config.json"))
    counts: dict[str, dict[str, int]] = {
        split: {label: int((part.labels == index).sum()) for index, label in enumerate(dataset.labels)}
        for split, part in dataset.splits.items()
    }
    return CardFacts(
        name=name,
        base_model=config.model.name,
        base_license=license_of(config.model.name),
        task="text-classification",
        labels=dataset.labels,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        rows={split: len(part) for split, part in dataset.splits.items()},
        class_counts=counts,
        select_scores=record["scores"],
        test_scores=test_scores,
        params=record["params"],
        study=record["study"],
        trial=trial,
        run_id=run_id,
        created=datetime.now(UTC).date().isoformat(),
        versions=dict(item.split("==") for item in registry.requirements()),
        notes=dataset.notes,
        attribution=ATTRIBUTION if dataset.source.startswith("sample:") else None,
        max_length=finished.max_length,
        truncation=finished.truncation,
        lowercase=finished.lowercase,
        normalize=finished.normalize,
        calibration=finished.calibration,
    )
