"""`hpo export`: a registered model for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines import registry
from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.connection import connect, tracking_errors
from pipelines.data import Dataset, load_data, open_dataset
from pipelines.errors import DataError
from pipelines.export import read_facts
from pipelines.golden import golden_texts
from pipelines.onnx import Format

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from hpo.places import Places
    from pipelines.onnx.exporting import Trial
    from pipelines.onnx.parity import Parity

_MOST_TEXTS = 2_000


@dataclass(frozen=True)
class Exported:
    """What was written."""

    model: str
    version: str
    form: str
    parity: "Parity | None"
    """None for safetensors: those are the files of the version themselves."""


def export(reference: str, target: Path, *, form: Format, data: str | None, limit: float, places: "Places") -> Exported:
    """Write a registered version to a new directory as `form`; see `pipelines.onnx.exporting` for what is refused.

    It is compared with the original on rows of its own study that it was not trained on, where they are here, else on
    `data`, else on the golden texts. Raises `ModelError`, and `DataError` for data of other classes.
    """
    client = connect(places.tracking)
    with tracking_errors(places.tracking):
        version = registry.find_version(client, reference)
        if form is Format.SAFETENSORS:
            registry.pull(client, version, target)
            return Exported(str(version.name), str(version.version), form.value, None)
        model = registry.pulled(client, version, places.cache / "models")
    from pipelines.onnx.exporting import export_onnx

    trial = _trial(version, model, data=data, places=places)
    parity = export_onnx(model, target, form=form, trial=trial, limit=limit)
    return Exported(str(version.name), str(version.version), form.value, parity)


def _trial(version: "ModelVersion", model: Path, *, data: str | None, places: "Places") -> "Trial":
    from pipelines.onnx.exporting import Trial

    if data is not None:
        return _labelled(load_data(DataConfig(source=data)), SPLIT_NAMES, model=model, source=data)
    folder = places.study(str(version.tags.get("hpo.study"))) / "data"
    if folder.is_dir() and (dataset := open_dataset(folder)).digest == version.tags.get(registry.DATA):
        source = f"select and calibrate rows of study {version.tags['hpo.study']}"
        return _labelled(dataset, ("select", "calibrate"), model=model, source=source)
    facts = read_facts(model)
    return Trial(golden_texts(facts.max_length), "golden texts; --data names labelled ones")


def _labelled(dataset: Dataset, splits: tuple[SplitName, ...], *, model: Path, source: str) -> "Trial":
    from pipelines.onnx.exporting import Trial

    labels = read_facts(model).labels
    if set(labels) != set(dataset.labels):
        raise DataError(f"{source}: has the classes {', '.join(dataset.labels)}; the model knows {', '.join(labels)}")
    parts = [dataset.splits[split] for split in splits]
    texts = [text for part in parts for text in part.texts][:_MOST_TEXTS]
    order = np.array([labels.index(name) for name in dataset.labels])
    return Trial(texts, source, order[np.concatenate([part.labels for part in parts])][:_MOST_TEXTS])
