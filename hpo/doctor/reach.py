"""Where everything is read from: places, ledger, Optuna's storage, and MLflow as long as it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import optuna
from mlflow import MlflowClient

from hpo.ledger import Ledger
from hpo.places import Places
from hpo.storage import open_storage
from pipelines.connection import connect, tracking_errors
from pipelines.errors import StorageError

Answer = TypeVar("Answer")


@dataclass
class Reach:
    """A tracker; once it does not answer, it is asked no more."""

    uri: str
    client: MlflowClient | None
    away: str = ""
    """Why it does not answer, without secrets."""

    def ask(self, question: Callable[[MlflowClient], Answer]) -> Answer | None:
        """The answer to a question, or None when MLflow is away."""
        if self.client is None:
            return None
        try:
            with tracking_errors(self.uri):
                return question(self.client)
        except StorageError as error:
            self.client, self.away = None, str(error)
            return None


def reach(uri: str) -> Reach:
    """Connect, where there is something to connect to: a database that is absent must not be made by looking at it."""
    file = uri.removeprefix("sqlite:///").partition("?")[0]
    if uri.startswith("sqlite:///") and not Path(file).exists():
        return Reach(uri, None, f"tracking {uri}: there is no such database")
    try:
        return Reach(uri, connect(uri))
    except StorageError as error:
        return Reach(uri, None, str(error))


@dataclass(frozen=True)
class Sources:
    """Where everything is read from."""

    places: Places
    ledger: Ledger
    storage: optuna.storages.RDBStorage
    mlflow: Reach


def open_sources(places: Places, ledger: Ledger) -> Sources:
    """Connect to all of them."""
    return Sources(places, ledger, open_storage(places.storage), reach(places.tracking))
