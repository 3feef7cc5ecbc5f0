"""Data sets of the Hugging Face hub, and directories that `datasets` saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.data.arrow import arrow_table
from pipelines.data.columns import choose_columns
from pipelines.data.reading import exists
from pipelines.data.values import Source, Table
from pipelines.data.wording import quoted, suggestion
from pipelines.errors import ConfigError, DataError
from pipelines.hub import prepare


@dataclass(frozen=True)
class Preset:
    """What is known of a much used data set."""

    hub_id: str
    text: str
    label: str = "label"
    classes: tuple[str, ...] = ("negative", "positive")
    test: str = "test"


PRESETS = {
    "imdb": Preset("stanfordnlp/imdb", "text"),
    "yelp_polarity": Preset("fancyzhx/yelp_polarity", "text"),
    "amazon_polarity": Preset("fancyzhx/amazon_polarity", "content"),
    # The labels of its test split are kept secret (all -1).
    "sst2": Preset("stanfordnlp/sst2", "sentence", test="validation"),
    "rotten_tomatoes": Preset("cornell-movie-review-data/rotten_tomatoes", "text"),
}
_USUAL: dict[SplitName, str] = {"select": "validation", "test": "test"}


def read_hub(config: DataConfig) -> Source:
    """The data set with the hub id, or preset, that `data.source` names.

    Raises `DataError` when the hub does not answer or has no such data set, and for unknown splits.
    """
    preset = PRESETS.get(config.source)
    if preset is not None:
        chosen = {"text": config.text or preset.text, "label": config.label or preset.label}
        config = config.model_copy(update={**chosen, "test": config.test or preset.test})
    hub_id = preset.hub_id if preset else config.source
    splits = _loaded(hub_id, config)
    tables = _tables(splits, config, hub_id, classes=preset.classes if preset else None)
    return Source(name=hub_id, address=config.source, tables=tables, published=True)


def is_saved(path: Path) -> bool:
    """Whether `path` is a directory that `datasets` wrote by `save_to_disk`."""
    return any(exists(path / name) for name in ("dataset_dict.json", "state.json"))


def read_saved(path: Path, config: DataConfig) -> Source:
    """The data set in a directory that `datasets` saved. Raises `DataError` when it is damaged."""
    from datasets import load_from_disk

    try:
        data = load_from_disk(str(path))
    except Exception as error:  # the library documents none; whatever it is, the directory is at fault
        raise DataError(f"{config.source}: cannot be read ({_reason(error)}); save it again by save_to_disk") from error
    splits = data if isinstance(data, dict) else {"train": data}
    tables = _tables(splits, config, config.source, classes=None)
    return Source(name=path.absolute().name, address=str(path.absolute()), tables=tables, published=True)


def _loaded(hub_id: str, config: DataConfig) -> Mapping[str, Any]:
    prepare(hub_id)  # before the import: the library decides then whether it is offline
    from datasets import load_dataset

    try:
        splits: Mapping[str, Any] = load_dataset(hub_id, name=config.config, revision=config.revision)
    except Exception as error:  # HTTP clients, the hub and the builders each have their own kinds
        raise DataError(
            f"{hub_id}: cannot be loaded from the Hugging Face hub ({_reason(error)}); check the name, data.config "
            "and the connection (HF_ENDPOINT, HF_HUB_OFFLINE), or name a local file or directory"
        ) from error
    return splits


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _tables(
    splits: Mapping[str, Any], config: DataConfig, shown: str, *, classes: tuple[str, ...] | None
) -> dict[SplitName, Table]:
    assigned = _assigned(list(splits), config, shown)
    return {split: _table(splits[name], config, f"{shown}/{name}", classes=classes) for split, name in assigned.items()}


def _assigned(names: list[str], config: DataConfig, shown: str) -> dict[SplitName, str]:
    """The hub's split for each of ours: as the user says, else by its usual name; train must be there."""
    given: dict[SplitName, str] = {split: name for split in SPLIT_NAMES[1:] if (name := getattr(config, split))}
    for split, name in given.items():
        if name not in names:
            raise DataError(
                f"{shown}: has no split {name!r} (data.{split}){suggestion(name, names)}; "
                f"its splits are {quoted(names)}"
            )
    train = names[0] if len(names) == 1 else "train"
    if train not in names:
        raise DataError(f"{shown}: has no split 'train'; its splits are {quoted(names)}")
    used = [train, *given.values()]
    twice = next((name for name in used if used.count(name) > 1), None)
    if twice:
        raise ConfigError(f"the split {twice!r} of {shown} would be used twice; give each of our splits another one")
    usual = {split: name for split, name in _USUAL.items() if name in names and split not in given and name not in used}
    return {"train": train, **usual, **given}


def _table(split: Any, config: DataConfig, shown: str, *, classes: tuple[str, ...] | None) -> Table:
    columns = choose_columns(split.column_names, config, shown)
    declared = classes or tuple(getattr(split.features[columns.label], "names", None) or ())
    wanted = [column for column in (columns.text, columns.label, columns.group) if column]
    data = split.select_columns(wanted).with_format("arrow")[:]
    return arrow_table(data, columns, shown=shown, name=shown, classes=declared)
