"""What MLflow keeps that no registered version needs: models that were uploaded and have none."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion

from pipelines.registry import KEY, copy_name


@dataclass(frozen=True)
class Registered:
    """All versions that there are, whoever registered them, and the aliases."""

    versions: tuple[ModelVersion, ...]
    aliased: frozenset[tuple[str, str]]
    """Model and number of each version that an alias names."""

    def needs(self, model: LoggedModel) -> bool:
        """Whether a version is this logged model, by its id or by where its files are."""
        id = str(model.model_id)
        return any(id == one.model_id or id in str(one.source) for one in self.versions)

    @property
    def copies(self) -> set[str]:
        """The names in a cache of the versions that an alias names."""
        return {copy_name(one) for one in self.versions if (one.name, str(one.version)) in self.aliased}


def read_registered(client: MlflowClient) -> Registered:
    """Look at the whole registry. Raises MLflow's errors when it does not answer."""
    models = list(_all(lambda token: client.search_registered_models(page_token=token)))
    versions = _all(lambda token: client.search_model_versions(page_token=token))
    aliased = {(model.name, str(number)) for model in models for number in model.aliases.values()}
    return Registered(tuple(versions), frozenset(aliased))


def models_without_version(
    client: MlflowClient, study: str, registered: Registered, *, age: float
) -> list[LoggedModel]:
    """Models of a study that were uploaded at least `age` seconds ago and became no version, or whose version is gone.

    Only what `registry.register` uploaded: what people log themselves is theirs. Raises MLflow's errors.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    before = (time.time() - age) * 1000
    found = _all(lambda token: client.search_logged_models([experiment.experiment_id], page_token=token))
    return [
        model
        for model in found
        if _is_of(study, model.tags) and model.creation_timestamp <= before and not registered.needs(model)
    ]


def size_of(client: MlflowClient, model: LoggedModel) -> int:
    """Bytes of a logged model's files."""
    repository, folders, size = _repository(client, model), [""], 0
    while folders:
        for item in repository.list_artifacts(folders.pop() or None):
            folders += [item.path] if item.is_dir else []
            size += item.file_size or 0
    return size


def free(client: MlflowClient, model: LoggedModel) -> None:
    """Delete a logged model's files, then itself: whoever is killed in between finds it again."""
    _repository(client, model).delete_artifacts()
    client.delete_logged_model(model.model_id)


def _is_of(study: str, tags: Mapping[str, str]) -> bool:
    return str(tags.get(KEY, "")).startswith(f"{study}/")


def _repository(client: MlflowClient, model: LoggedModel) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)


def _all(page_after: Callable[[str | None], Any]) -> Iterator[Any]:
    """Everything on all pages of a search."""
    page = page_after(None)
    yield from page
    while page.token:
        page = page_after(page.token)
        yield from page
