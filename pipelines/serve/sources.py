"""Where served models come from: the registry, or a directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mlflow import MlflowClient

from pipelines import registry
from pipelines.connection import connect, tracking_errors
from pipelines.errors import ModelError
from pipelines.export import read_facts
from pipelines.serve.facts import facts_of, own_facts
from pipelines.serve.runtimes import Kind, open_runtime
from pipelines.serve.served import Served, TooLong

Say = Callable[[str], None]
_EXPORTS = "onnx"  # below the cache


class Source(Protocol):
    """Says which version belongs into a slot, and loads versions."""

    main: str
    """The slot that answers where a request names none."""
    slots: tuple[str, ...]
    """All slots, the main one first."""

    def version(self, slot: str) -> str | None:
        """The version that belongs there now; None: none does. Raises `UserError` where that cannot be told."""

    def load(self, version: str) -> Served:
        """That version, verified, proved and ready. Raises `UserError`."""


class RegistrySource:
    """`NAME`, `NAME@alias` or `NAME/version` of the registry; beside it, champion and challenger."""

    def __init__(self, reference: str, *, tracking: str, cache: Path, kind: Kind, say: Say) -> None:
        """Raises `ModelError` where there is no such version, `StorageError` where the registry does not answer."""
        self._tracking, self._cache, self._kind, self._say = tracking, cache, kind, say
        self._client: MlflowClient = connect(tracking)
        with tracking_errors(tracking):
            first = registry.find_version(self._client, reference)
        self.name = str(first.name)
        _, _, number = reference.partition("/")
        _, _, alias = reference.partition("@")
        self.main = number or alias or registry.CHAMPION
        others = (alias for alias in (registry.CHAMPION, registry.CHALLENGER) if alias != self.main)
        self.slots = (self.main, *others)

    def version(self, slot: str) -> str | None:
        """What the alias names; a number names itself."""
        if slot.isdigit():
            return slot
        with tracking_errors(self._tracking):
            return registry.alias_of(self._client, self.name, slot)

    def load(self, version: str) -> Served:
        """Pulled into the cache, verified, proved, and opened in the runtime."""
        with tracking_errors(self._tracking):
            found = registry.find_version(self._client, f"{self.name}/{version}")
            directory = registry.pulled(self._client, found, self._cache / "models")
            kind, runtime = open_runtime(directory, self._kind, exports=self._cache / _EXPORTS, say=self._say)
            facts = facts_of(directory, self._client, found)
        return Served(self.name, version, kind, runtime, TooLong(directory), facts)


class DirectorySource:
    """A model that lies in a directory, as `hpo pull` writes it; it does not change."""

    main = "0"
    slots: tuple[str, ...] = ("0",)

    def __init__(self, directory: Path, *, cache: Path, kind: Kind, say: Say) -> None:
        """Raises `ModelError` where there is no model of ours."""
        self._directory, self._cache, self._kind, self._say = directory, cache, kind, say
        if not (directory / "hpo.json").is_file():
            raise ModelError(f"{directory}: no model of ours (hpo.json is missing); see: hpo pull")
        read_facts(directory)

    def version(self, slot: str) -> str | None:
        """Always the same."""
        return slot

    def load(self, version: str) -> Served:
        """Verified, proved, and opened in the runtime."""
        directory = self._directory
        kind, runtime = open_runtime(directory, self._kind, exports=self._cache / _EXPORTS, say=self._say)
        too_long = TooLong(directory)
        return Served(directory.resolve().name, version, kind, runtime, too_long, own_facts(directory))
