"""What a model said about each row of a split: the one value that scores, figures and reports are made from."""

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DataError

if TYPE_CHECKING:
    import pyarrow

SUM_TOLERANCE = 1e-3
"""How far a row's probabilities may sum from 1: as far as a softmax in half precision drifts."""

_METADATA_KEY = b"class_names"
_THRESHOLDS_KEY = b"thresholds"


class NonFiniteError(ValueError):
    """Some probabilities are NaN or infinite: the model has diverged, so nothing can be scored."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """One split's texts, true classes and predicted probabilities, row by row.

    Raises `NonFiniteError` for NaN or infinite probabilities, `ValueError` where the parts do not fit together.
    """

    ids: Sequence[str]
    """(rows,) the data set's own identifiers."""
    texts: Sequence[str]
    """(rows,)"""
    labels: NDArray[np.int64]
    """(rows,) index of the true class."""
    probabilities: NDArray[np.float64]
    """(rows, classes), each row sums to 1."""
    names: tuple[str, ...]
    """(classes,) names of the classes, all different."""
    thresholds: tuple[float, ...] | None = None
    """(classes,) what each class's probability is divided by before the largest decides; None decides by itself."""

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_probabilities(self.probabilities)

    @property
    def weighed(self) -> NDArray[np.float64]:
        """(rows, classes) what decides: the probabilities, divided by the thresholds where there are any.

        Rows sum to 1. Scores that count decisions may be computed from it as from probabilities.
        """
        if self.thresholds is None:
            return self.probabilities
        shares = self.probabilities / np.array(self.thresholds)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(rows,) index of the class that is decided for: without thresholds the most probable, the first of equals."""
        return np.asarray(np.argmax(self.weighed, axis=1), dtype=np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(rows,) probability of the predicted class."""
        return np.asarray(self.probabilities[np.arange(len(self.labels)), self.predicted], dtype=np.float64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(rows,) whether the predicted class is the true one."""
        return np.asarray(self.predicted == self.labels, dtype=np.bool_)


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of different rows by models of the same classes as one value, in the order of the rows' ids."""
    if len(parts) == 1:
        return parts[0]
    ids = np.array([id for part in parts for id in part.ids])
    texts = [text for part in parts for text in part.texts]
    order = np.argsort(ids, kind="stable")
    return Predictions(
        ids=ids[order].tolist(),
        texts=[texts[row] for row in order],
        labels=np.concatenate([part.labels for part in parts])[order],
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        names=parts[0].names,
    )


def _check_shapes(predictions: Predictions) -> None:
    names, labels = predictions.names, predictions.labels
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"two or more different class names are needed, not {names}")
    shapes = [(len(predictions.ids),), (len(predictions.texts),), labels.shape, predictions.probabilities.shape]
    if shapes != [*[(len(labels),)] * 3, (len(labels), len(names))]:
        raise ValueError(f"ids, texts, labels, probabilities do not fit {len(names)} class names: shapes {shapes}")
    thresholds = predictions.thresholds
    if thresholds is not None and (len(thresholds) != len(names) or not all(0 < one < np.inf for one in thresholds)):
        raise ValueError(f"thresholds must be positive, one for each of {len(names)} classes, not {thresholds}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, not {labels.dtype}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        raise ValueError(f"labels must lie in 0 to {len(names) - 1}, not in {labels.min()} to {labels.max()}")


def _check_probabilities(probabilities: NDArray[np.float64]) -> None:
    bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if bad:
        raise NonFiniteError(f"{bad} of {len(probabilities)} rows have probabilities that are NaN or infinite")
    wrong = int(((probabilities < 0).any(axis=1) | (abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(probabilities)} rows are no probabilities: negative, or their sum is not 1")


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities, (rows, classes), of logits of any floating type, (rows, classes), in float64.

    The row's maximum is subtracted first, so that large logits cannot overflow. A row with a NaN or +inf becomes NaN,
    which `Predictions` refuses.
    """
    values = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def write_parquet(predictions: Predictions, path: Path) -> None:
    """Write one row per text; the file is either whole or absent. `read_parquet` gives back the same, to the bit.

    Columns: id, text, label and predicted (class names), confidence (0 to 1), and `p_<class name>` for each class.
    The class names, in order, stand in the schema's metadata as a JSON list under `class_names`, and so do `thresholds`
    where there are any.
    """
    import pyarrow.parquet

    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("wb") as file:
            pyarrow.parquet.write_table(_table(predictions), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _table(predictions: Predictions) -> "pyarrow.Table":
    import pyarrow

    names = pyarrow.array(predictions.names, pyarrow.string())

    def class_names(indices: NDArray[np.int64]) -> Any:
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(indices, pyarrow.int32()), names)

    columns = {
        "id": pyarrow.array(predictions.ids, pyarrow.string()),
        "text": pyarrow.array(predictions.texts, pyarrow.string()),
        "label": class_names(predictions.labels),
        "predicted": class_names(predictions.predicted),
        "confidence": pyarrow.array(predictions.confidence, pyarrow.float64()),
    }
    for index, name in enumerate(predictions.names):
        columns[f"p_{name}"] = pyarrow.array(predictions.probabilities[:, index], pyarrow.float64())
    metadata = {_METADATA_KEY: json.dumps(predictions.names)}
    if predictions.thresholds is not None:
        metadata[_THRESHOLDS_KEY] = json.dumps(predictions.thresholds)
    return pyarrow.table(columns, metadata=metadata)


def read_parquet(path: Path) -> Predictions:
    """The predictions that `write_parquet` wrote. Raises `DataError` for a Parquet file of another kind."""
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path).read()
    metadata = table.schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise DataError(f"{path} holds no predictions: its schema names no classes; give a predictions.parquet of hpo")
    names = tuple(json.loads(metadata[_METADATA_KEY]))
    indices = {name: index for index, name in enumerate(names)}
    columns = [table.column(f"p_{name}").to_numpy() for name in names]
    return Predictions(
        ids=table.column("id").to_pylist(),
        texts=table.column("text").to_pylist(),
        labels=np.array([indices[name] for name in table.column("label").to_pylist()], dtype=np.int64),
        probabilities=np.stack(columns, axis=1).astype(np.float64),
        names=names,
        thresholds=tuple(json.loads(metadata[_THRESHOLDS_KEY])) if _THRESHOLDS_KEY in metadata else None,
    )


def most_confident_mistakes(predictions: Predictions, count: int = 50) -> list[dict[str, object]]:
    """The wrongly classified rows, the surest first, at most `count`; plain values that JSON can hold.

    Keys: id, text, label and predicted (class names), confidence (0 to 1). Often they are errors of the labels.
    """
    predicted, confidence = predictions.predicted, predictions.confidence
    wrong = np.flatnonzero(~predictions.correct)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        {
            "id": predictions.ids[row],
            "text": predictions.texts[row],
            "label": predictions.names[predictions.labels[row]],
            "predicted": predictions.names[predicted[row]],
            "confidence": float(confidence[row]),
        }
        for row in surest.tolist()
    ]
