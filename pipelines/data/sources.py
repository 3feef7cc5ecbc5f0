"""What `data.source` means, and the raw tables that stand behind it."""

import re
from pathlib import Path

from pipelines.config import SPLIT_NAMES, DataConfig, SplitName
from pipelines.data.arrow import read_parquet
from pipelines.data.delimited import read_delimited
from pipelines.data.encoding import decoded
from pipelines.data.jsonl import read_jsonl
from pipelines.data.published import PRESETS, is_saved, read_hub, read_saved
from pipelines.data.reading import exists, opened
from pipelines.data.samples import SAMPLES, read_sample
from pipelines.data.values import Source, Table
from pipelines.data.wording import listing, suggestion
from pipelines.errors import ConfigError, DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
_ACCEPTED = ".csv, .tsv, .jsonl, .ndjson or .parquet"
_REMEDIES = {
    ".txt": "rename it to .csv or .tsv if it is a table with a header, text and label",
    ".json": "write one object per line and name it .jsonl",
    ".gz": "unpack it first, for instance with `gunzip`",
    ".zip": "unpack it first, for instance with `unzip`",
    ".xlsx": "save the sheet as 'CSV UTF-8'",
    ".xls": "save the sheet as 'CSV UTF-8'",
}
_SUFFIXES = {*DELIMITERS, *LINES, ".parquet", *_REMEDIES}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


def read_source(config: DataConfig) -> Source:
    """All rows that `config` names, as they were written.

    An existing path, or what looks like one, is local; then come `sample:NAME`, presets and hub ids. Raises
    `DataError` when there is no such thing or it cannot be read, `ConfigError` for settings that do not apply.
    """
    path = _path(config.source)
    if config.source.startswith("sample:") or _is_local(config.source):
        _refuse_hub_settings(config)
        return read_saved(path, config) if is_saved(path) else _read_files(config)
    if config.source in PRESETS:
        return read_hub(config)
    _refuse_likely_typo(config.source)
    return read_hub(config)


def _path(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # `~nobody` names no user here; the file is then missing under that very name
        return Path(source)


def _is_local(source: str) -> bool:
    path = _path(source)
    looks_like_path = source.startswith((".", "/", "~")) or path.suffix.lower() in _SUFFIXES
    return looks_like_path or exists(path)


def _refuse_hub_settings(config: DataConfig) -> None:
    for key in ("config", "revision"):
        if getattr(config, key) is not None:
            raise ConfigError(f"data.{key} applies to hub data sets only, not to {config.source}; leave it out")


def _refuse_likely_typo(source: str) -> None:
    names = [*PRESETS, *(f"sample:{name}" for name in SAMPLES)]
    if source in SAMPLES:
        raise DataError(f"{source}: no such file or preset; did you mean 'sample:{source}'?")
    close = suggestion(source, names)
    if not _HUB_ID.fullmatch(source) or (close and "/" not in source):
        hint = close or f"; samples and presets are {listing(names)}"
        raise DataError(f"{source}: is no file, sample, preset or hub id (OWNER/NAME){hint}")


def _read_files(config: DataConfig) -> Source:
    """The train file, and the files of the splits that have one."""
    places: dict[SplitName, str] = {"train": config.source}
    places |= {split: place for split in SPLIT_NAMES[1:] if (place := getattr(config, split)) is not None}
    tables = {split: _read(place, config) for split, place in places.items()}
    is_sample = config.source.startswith("sample:")
    return Source(
        name=tables["train"].name,
        address=config.source if is_sample else str(_path(config.source).absolute()),
        tables=tables,
        published=all(place.startswith("sample:") for place in places.values()),
    )


def _read(place: str, config: DataConfig) -> Table:
    if place.startswith("sample:"):
        name = place.removeprefix("sample:")
        if name not in SAMPLES:
            raise DataError(
                f"{place}: no such sample{suggestion(name, SAMPLES)}; the samples are {listing([*SAMPLES])}"
            )
        return read_sample(name, config)
    return _read_file(_path(place), config, shown=place)


def _read_file(path: Path, config: DataConfig, *, shown: str) -> Table:
    suffix = path.suffix.lower()
    # A file name may hold bytes that are no text.
    name = path.name.encode("utf-8", errors="replace").decode("utf-8")
    with opened(path, shown) as handle:
        if suffix in DELIMITERS:
            with decoded(handle, shown, newline="") as text:
                return read_delimited(text, config, delimiter=DELIMITERS[suffix], shown=shown, name=name)
        if suffix in LINES:
            with decoded(handle, shown, newline="\n") as text:
                return read_jsonl(text, config, shown=shown, name=name)
        if suffix == ".parquet":
            return read_parquet(handle, config, shown=shown, name=name)
    raise wrong_ending(suffix, shown)


def wrong_ending(suffix: str, shown: str) -> DataError:
    """That a file's name does not tell a format that is read here."""
    remedy = _REMEDIES.get(suffix, "convert it to one of these, or rename it if it is one")
    return DataError(f"{shown}: the name must end in {_ACCEPTED}; {remedy}")
