"""Labelled texts from files, samples and the hub: checked strictly, split reproducibly, stored whole."""

from collections.abc import Mapping

from pipelines.config import DataConfig, SplitName
from pipelines.data.assemble import assemble
from pipelines.data.content import check_rows
from pipelines.data.digest import content_digest, rows_digest, text_hashes
from pipelines.data.findings import duplicates, label_leaks
from pipelines.data.folds import folds
from pipelines.data.keys import Keys, text_keys
from pipelines.data.labels import Classes, find_classes
from pipelines.data.leakage import Leakage, find_leakage
from pipelines.data.near import Near, near_duplicates
from pipelines.data.overlaps import resolve_overlaps
from pipelines.data.published import PRESETS
from pipelines.data.samples import ATTRIBUTION, SAMPLES
from pipelines.data.sources import read_source
from pipelines.data.store import open_dataset, save_dataset
from pipelines.data.values import Column, Dataset, Split, Table, filtered

__all__ = [
    "ATTRIBUTION",
    "PRESETS",
    "SAMPLES",
    "Column",
    "Dataset",
    "Leakage",
    "Near",
    "Split",
    "find_leakage",
    "folds",
    "load_data",
    "near_duplicates",
    "open_dataset",
    "rows_digest",
    "save_dataset",
    "text_hashes",
]


def load_data(config: DataConfig) -> Dataset:
    """Read, check, classify, compare and split what `config` names.

    The result depends on the content of the rows, not on their order. Raises `DataError` for data that cannot
    be used, with rows, columns and remedy, and `ConfigError` for settings that contradict each other.
    """
    source = read_source(config)
    tables = {split: check_rows(table, config) for split, table in source.tables.items()}
    classes = find_classes(tables, config.label_names)
    keys = {split: text_keys(Column(table.texts), config.split_seed) for split, table in tables.items()}
    notes = _notes(tables, keys, classes)
    kept, shared = resolve_overlaps(tables, keys, config, published=source.published)
    splits = assemble(
        {**tables, "train": filtered(tables["train"], kept)},
        {**classes.codes, "train": classes.codes["train"][kept]},
        {**keys, "train": keys["train"][kept]},
        labels=classes.names,
        config=config,
    )
    return Dataset(
        name=source.name,
        source=source.address,
        labels=classes.names,
        splits=splits,
        digest=content_digest(classes.names, splits),
        notes=(*notes, *shared),
    )


def _notes(tables: Mapping[SplitName, Table], keys: Mapping[SplitName, Keys], classes: Classes) -> list[str]:
    train, codes = tables["train"], classes.codes["train"]
    notes = [note for table in tables.values() for note in table.notes]
    notes += classes.notes
    notes += duplicates(train, keys["train"], codes=codes, names=classes.names)
    notes += label_leaks(train, codes, classes.names)
    return notes
