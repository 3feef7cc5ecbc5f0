"""MLflow, within reach: a client with short patience, errors in one line, an experiment by name."""

import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from pipelines.errors import StorageError
from pipelines.files import built_once

_TRAINING_PAGES = {"mlflow.experimentKind": "custom_model_development"}  # else the page opens on its chat features


@contextmanager
def tracking_errors(uri: str, *, alone: bool = True) -> Iterator[None]:
    """Turns a tracker that does not answer into one line, without secrets.

    `alone`: False where another database is used as well, whose own errors are not the tracker's; MLflow wraps its own.
    """
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, ImportError) as error:
        if isinstance(error, SQLAlchemyError) and not alone:
            raise
        cause = _printable(str(error).strip().partition("\n")[0][:300])
        raise StorageError(f"tracking {_printable(uri)}: {cause}") from error


def is_away(error: BaseException | None) -> bool:
    """Whether behind an error is a tracker that does not answer for now, not one that never could."""
    while error is not None:
        if isinstance(error, (RequestException, OperationalError, InterfaceError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def connect(uri: str) -> MlflowClient:
    """A client with short patience. Raises `StorageError` when the tracker does not answer."""
    _be_impatient()
    for name in ("mlflow", "alembic"):  # they announce every step of setting up a database
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints tracebacks of what it raises
    with tracking_errors(uri):
        _knock(uri)
        _set_up(uri)
        mlflow.set_tracking_uri(uri)  # the registry of an SQL store looks models up through this global
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def _be_impatient() -> None:
    """MLflow's own defaults block a call for minutes when the server is down."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def _knock(uri: str) -> None:
    """MLflow itself would try for 100 seconds to reach a database that is down."""
    if not uri.startswith(("http://", "https://", "sqlite:")):
        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()


def _set_up(uri: str) -> None:
    """Let a new SQLite appear with all its tables at once: MLflow cannot go on with one that a kill left half made."""
    if not uri.startswith("sqlite:"):
        return
    file = Path(sqlalchemy.make_url(uri).database or ":memory:")
    if file.name != ":memory:" and file.parent.is_dir():
        built_once(file, read=lambda path: path.exists() or None, write=_new_database)


def _new_database(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    beside.mkdir()
    SqlAlchemyStore(f"sqlite:///{beside / file.name}", "./mlruns").engine.dispose()
    (beside / file.name).replace(file)
    beside.rmdir()


def _printable(text: str) -> str:
    """A text without the credentials of the addresses in it, even of those that hold `/` or `@` in the password."""
    return re.sub(r"(password=)[^&\s]*", r"\1***", re.sub(r"://\S*@", "://***@", text))


def find_experiment(client: MlflowClient, name: str, artifacts: Path) -> str:
    """The id of an experiment, found (and restored, if it was deleted) or created.

    Its artifacts go below `artifacts`, unless a tracking server keeps them.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    served = client.tracking_uri.startswith(("http://", "https://"))
    location = None if served else (artifacts / name).absolute().as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=_TRAINING_PAGES))
    except MlflowException as error:  # somebody else was quicker
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)
