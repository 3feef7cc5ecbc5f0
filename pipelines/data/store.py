"""A data set as a directory: one Arrow file per split and `dataset.json`, whole or absent."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config import SPLIT_NAMES, SplitName
from pipelines.data.values import Column, Dataset, Split
from pipelines.errors import DataError
from pipelines.files import built_once, new_directory, read_json, sha256, write_json

_MANIFEST = "dataset.json"
_FORMAT = 1
_BATCH = 65_536


def save_dataset(dataset: Dataset, directory: Path) -> None:
    """Write `dataset` to `directory`, atomically; nothing happens when it holds the same content already.

    A damaged directory is replaced. Raises `DataError` when it holds something else.
    """
    built_once(
        directory,
        read=lambda place: (place.exists() and _holds(place, dataset)) or None,
        write=lambda place: _write(dataset, place),
    )


def _write(dataset: Dataset, directory: Path) -> None:
    with new_directory(directory) as fresh:
        files = {name: _write_split(fresh / _file(name), dataset.splits[name]) for name in SPLIT_NAMES}
        write_json(fresh / _MANIFEST, {**_described(dataset), "files": files})


def open_dataset(directory: Path) -> Dataset:
    """The data set in `directory`, memory-mapped, after its files were compared with their sha256.

    Raises `DataError` that names the file when one is missing or damaged.
    """
    manifest = _manifest(directory)
    try:
        splits = {name: _open_split(directory / _file(name), manifest["files"][name]["sha256"]) for name in SPLIT_NAMES}
        return Dataset(
            name=manifest["name"],
            source=manifest["source"],
            labels=tuple(manifest["labels"]),
            splits=splits,
            digest=manifest["digest"],
            notes=tuple(manifest["notes"]),
        )
    except (KeyError, TypeError):
        raise DataError(_damaged(directory / _MANIFEST)) from None


def _holds(directory: Path, dataset: Dataset) -> bool:
    """Whether the same content is there, intact. Raises `DataError` for content that must not be lost."""
    if any(directory.iterdir()) and not (directory / _MANIFEST).is_file():
        raise DataError(f"{directory}: holds other files; name an empty or new directory")
    try:
        digest = open_dataset(directory).digest
    except DataError:
        return False
    if digest != dataset.digest:
        raise DataError(f"{directory}: holds another data set ({digest[:12]}); name a new directory, or delete it")
    return True


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "name": dataset.name,
        "source": dataset.source,
        "labels": dataset.labels,
        "digest": dataset.digest,
        "notes": dataset.notes,
    }


def _file(split: SplitName) -> str:
    return f"{split}.arrow"


def _write_split(path: Path, split: Split) -> dict[str, Any]:
    columns = {"text": _arrow(split.texts), "label": pa.chunked_array([split.labels]), "id": _arrow(split.ids)}
    if split.units is not None:
        columns["unit"] = pa.chunked_array([split.units])
    table = pa.table(columns)
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH)
    return {"sha256": sha256(path), "rows": len(split)}


def _arrow(texts: Any) -> pa.ChunkedArray:
    if isinstance(texts, Column):
        return texts.values
    return pa.chunked_array([pa.array(list(texts), pa.large_string())])


def _manifest(directory: Path) -> dict[str, Any]:
    path = directory / _MANIFEST
    try:
        manifest = read_json(path)
    except ValueError:
        raise DataError(_damaged(path)) from None
    if manifest is None:
        raise DataError(f"{path}: is missing; {directory} holds no data set, load the data again")
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DataError(f"{path}: is not of format {_FORMAT}; it was written by another version, load the data again")
    return manifest


def _open_split(path: Path, expected: str) -> Split:
    if not path.is_file() or sha256(path) != expected:
        raise DataError(_damaged(path))
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    labels = table["label"].to_numpy().astype(np.int64, copy=False)
    units = table["unit"].to_numpy() if "unit" in table.column_names else None  # not written by earlier releases
    return Split(Column(table["text"]), labels, Column(table["id"]), units)


def _damaged(path: Path) -> str:
    return f"{path}: is missing or damaged; delete its directory and load the data again"
