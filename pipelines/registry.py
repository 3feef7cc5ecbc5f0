"""MLflow's model registry: register once, move aliases knowingly, pull what is verified."""

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.export import read_facts
from pipelines.files import built_once, remove
from pipelines.loader import admit, verify
from pipelines.predictions import Predictions, read_parquet

CHAMPION, CHALLENGER = "champion", "challenger"
KEY = "hpo.key"
"""Tag that makes registration idempotent."""
DATA = "hpo.data"
"""Tag with the digest of the data that a version was trained on."""
ROWS_FILE = "rows.npy"
"""Artifact of a version's run: hashes of the texts that its training saw."""
TEST_FILE = "test/predictions.parquet"
"""Artifact of a version's run: its answers on the locked test rows."""
_MOST_DESCRIPTION = 5_000
_CUT = "\n\nThe whole card is README.md of the model."
_EXAMPLE = "one of the year's best"
_REFERENCE = re.compile(r"^(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?$")


@dataclass(frozen=True)
class Candidate:
    """A trained model that is to become a version."""

    key: str
    """Identifies it for ever: registering the same key again finds the same version."""
    run_id: str
    directory: Path
    """What `export_model` wrote, the model card included."""
    description: str
    tags: Mapping[str, str]


def register(client: MlflowClient, name: str, candidate: Candidate) -> ModelVersion:
    """The registered version of a candidate: found by its key, or uploaded and created."""
    if found := _only_version(client, name, candidate.key):
        return found
    _ensure_name(client, name)
    model_id = _uploaded(client, name, candidate)
    made = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=candidate.run_id,
        model_id=model_id,
        description=as_description(candidate.description, client=client),
        tags={KEY: candidate.key, **candidate.tags},
    )
    return _only_version(client, name, candidate.key) or made


def as_description(card: str, *, client: MlflowClient) -> str:
    """A card as the description of a version: where SQLite does not keep it, what is too long loses its end.

    MLflow's column holds 5,000 characters. SQLite does not count them; PostgreSQL refuses more.
    """
    if client.tracking_uri.startswith("sqlite:") or len(card) <= _MOST_DESCRIPTION:
        return card
    kept = card[: _MOST_DESCRIPTION - len(_CUT)]
    return kept[: max(kept.rfind("\n"), 0)].rstrip() + _CUT


def find_version(client: MlflowClient, reference: str) -> ModelVersion:
    """The version that `NAME`, `NAME@alias` or `NAME/version` means; `NAME` alone is its champion.

    Raises `ModelError` when there is none, naming what there is.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise ModelError(f"{reference}: a model is NAME, NAME@alias or NAME/version, for instance sentiment@champion")
    name = match["name"]
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        names = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise ModelError(f"there is no registered model {name!r}; there are: {names}") from error
    try:
        if match["version"]:
            version = client.get_model_version(name, match["version"])
        else:
            version = client.get_model_version_by_alias(name, match["alias"] or CHAMPION)
    except MlflowException as error:
        raise ModelError(f"{reference}: no such version or alias; {_what_there_is(client, name)}") from error
    if version.status != "READY":
        raise ModelError(f"{reference}: version {version.version} is {version.status}, not READY")
    return version


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The reigning champion, or None where there is none yet.

    Raises `ModelError` where the alias names a version that is gone, MLflow's errors where it does not answer: neither
    means that there is no champion.
    """
    number = alias_of(client, name, CHAMPION)
    if number is None:
        return None
    for version in _versions(client, name):
        if str(version.version) == number:
            return version
    raise ModelError(f"{name}@{CHAMPION} names version {number}, which is gone; go back with: hpo rollback {name}")


def alias_of(client: MlflowClient, name: str, alias: str) -> str | None:
    """The number of the version that an alias names; None where there is no such alias or model.

    By search, which tells apart what is absent from an MLflow that does not answer: that raises.
    """
    for model in client.search_registered_models(f"name = '{name}'"):
        if model.name == name and alias in model.aliases:
            return str(model.aliases[alias])
    return None


def pull(client: MlflowClient, version: ModelVersion, directory: Path) -> Path:
    """Download a version's Hugging Face directory and verify it; it appears at `directory` whole or not at all.

    Raises `ModelError` when `directory` is not empty or what arrives is not what was registered.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ModelError(f"{directory}: exists and is not an empty directory; give a new one")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".pull-") as beside:
        arrived = Path(_download(client, version, Path(beside)))
        facts = verify(arrived)
        if facts["files"]["model.safetensors"]["sha256"] != version.tags.get("hpo.weights"):
            raise ModelError(f"{version.name}/{version.version}: the weights are not those that were registered")
        if directory.exists():
            directory.rmdir()
        shutil.move(arrived, directory)
    return directory


def pulled(client: MlflowClient, version: ModelVersion, cache: Path) -> Path:
    """`pull` into a cache, or what an earlier call left there (verified again); of several at once, one downloads."""
    directory = cache / copy_name(version)

    def put(place: Path) -> None:
        remove(place)
        pull(client, version, place)

    return built_once(directory, read=_verified, write=put)


def _verified(directory: Path) -> Path | None:
    """The directory, where a model lies in it as it was written."""
    try:
        verify(directory)
    except ModelError:
        return None
    return directory


def copy_name(version: ModelVersion) -> str:
    """The name of a version's directory in a cache."""
    return f"{version.name}-{version.version}-{version.tags.get('hpo.weights', '')[:16]}"


def _download(client: MlflowClient, version: ModelVersion, target: Path) -> str:
    import mlflow.artifacts

    try:
        uri = f"{client.get_model_version_download_uri(version.name, version.version).rstrip('/')}/artifacts/model"
        for item in mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri):
            _stay_inside(PurePosixPath(item.path))
            admit(PurePosixPath(item.path).name, item.file_size)
        return str(mlflow.artifacts.download_artifacts(uri, dst_path=str(target), tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        raise ModelError(f"{version.name}/{version.version}: cannot be downloaded: {_first_line(error)}") from error
    except ModelError as error:
        raise ModelError(f"{version.name}/{version.version}: {error}") from error


def _stay_inside(path: PurePosixPath) -> None:
    """Refuse a listed path that leaves the model. Raises `ModelError`.

    MLflow refuses it too, but only while other files arrive, and its threads go on writing behind the refusal.
    """
    if path.is_absolute() or ".." in path.parts:
        raise ModelError(f"the store lists {path}, which lies outside the model; nothing was loaded")


def select_predictions(client: MlflowClient, version: ModelVersion) -> Predictions:
    """What a version's trial said of each row of the select split, from its run.

    Raises `ModelError` where the run keeps none.
    """
    return _predictions(client, version, "predictions.parquet")


def locked_predictions(client: MlflowClient, version: ModelVersion) -> Predictions | None:
    """What a version said of the locked test rows when they were opened for it, from its run; None where none is kept.

    No new look: what is read is what was found, and shown, then.
    """
    if TEST_FILE not in {file.path for file in client.list_artifacts(version.run_id, "test")}:
        return None
    return _predictions(client, version, TEST_FILE)


def _predictions(client: MlflowClient, version: ModelVersion, file: str) -> Predictions:
    import mlflow.artifacts

    with tempfile.TemporaryDirectory() as beside:
        try:
            path = mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=file, dst_path=beside, tracking_uri=client.tracking_uri
            )
        except (MlflowException, OSError) as error:
            name = f"{version.name}/{version.version}"
            raise ModelError(f"{name}: no predictions are stored with its run: {_first_line(error)}") from error
        return read_parquet(Path(path))


def seen_by(client: MlflowClient, version: ModelVersion) -> NDArray[np.uint64] | None:
    """Hashes of the texts that a version's training saw, as `data.text_hashes` makes them; None where none are kept."""
    import mlflow.artifacts

    if ROWS_FILE not in {file.path for file in client.list_artifacts(version.run_id)}:
        return None
    with tempfile.TemporaryDirectory() as beside:
        path = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=ROWS_FILE, dst_path=beside, tracking_uri=client.tracking_uri
        )
        hashes: NDArray[np.uint64] = np.load(path, allow_pickle=False)
        return hashes


def _uploaded(client: MlflowClient, name: str, candidate: Candidate) -> str:
    """The id of the candidate's logged model, uploaded and READY."""
    run = client.get_run(candidate.run_id)
    experiment = run.info.experiment_id
    for found in client.search_logged_models([experiment], filter_string=f"tags.`{KEY}` = '{candidate.key}'"):
        if found.status == "READY":
            return str(found.model_id)
        client.delete_logged_model(found.model_id)  # an upload that a crash cut short
    with tempfile.TemporaryDirectory() as staging:
        path = _packed(candidate.directory, Path(staging) / "model")
        model = client.create_logged_model(
            experiment, name=name, source_run_id=candidate.run_id, tags={KEY: candidate.key}
        )
        client.log_model_artifacts(model.model_id, str(path))
        client.log_outputs(candidate.run_id, [LoggedModelOutput(model.model_id, step=0)])
        client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _packed(directory: Path, target: Path) -> Path:
    """An MLflow model (pyfunc, from code) around a Hugging Face directory."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    labels = read_facts(directory).labels
    outputs = [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]
    outputs += [ColSpec(DataType.double, f"p.{label}") for label in labels]
    here = Path(__file__).parent
    if directory.name != "model":  # MLflow packs a directory under its own name, and `pull` asks for this one
        directory = shutil.copytree(directory, target.with_name("named") / "model")
    # MLflow advises type hints, though the signature is given; it resets filters, so the advice is collected instead.
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            path=str(target),
            python_model=str(here / "mlflow_model.py"),
            code_paths=[str(here / "hpo_classifier.py")],
            artifacts={"model": str(directory)},
            signature=ModelSignature(inputs=Schema([ColSpec(DataType.string)]), outputs=Schema(outputs)),
            input_example=pd.DataFrame({"text": [_EXAMPLE]}),
            pip_requirements=requirements(),
        )
    return target


def requirements() -> list[str]:
    """What a place needs to serve the model, with the versions of this one."""
    from importlib.metadata import version

    names = ("mlflow", "torch", "transformers", "safetensors", "numpy", "pandas")
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def _ensure_name(client: MlflowClient, name: str) -> None:
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=f"Text classifier {name}, promoted by hpo.")


def _only_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    """The version of a key, or None. When a reply is lost, MLflow's client asks again, and two are made: one goes."""
    found = [version for version in _versions(client, name) if version.tags.get(KEY) == key]
    first, *others = sorted(found, key=lambda version: int(version.version)) or [None]
    for other in others:
        client.delete_model_version(name, other.version)
    return first


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    return list(client.search_model_versions(f"name = '{name}'"))


def _what_there_is(client: MlflowClient, name: str) -> str:
    aliases: dict[str, Any] = client.get_registered_model(name).aliases
    versions = sorted(int(version.version) for version in _versions(client, name))
    return f"aliases: {', '.join(sorted(aliases)) or 'none'}; versions: {', '.join(map(str, versions)) or 'none'}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
