"""Where everything that a study leaves behind is kept."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import StorageError


@dataclass(frozen=True)
class Places:
    """The home directory, the two databases, and the paths below them."""

    home: Path
    """Default `./mlruns`; `HPO_HOME` places it elsewhere."""
    tracking: str
    """MLflow: a database URL, or the address of a tracking server."""
    storage: str
    """Optuna and ledger: a database URL. Not the tracking database: both own a table of the same name."""

    @property
    def artifacts(self) -> Path:
        """Artifacts of MLflow, when there is no tracking server to keep them."""
        return self.home / "artifacts"

    @property
    def cache(self) -> Path:
        """What can be made again at any time."""
        return self.home / "cache"

    @property
    def leakage(self) -> Path:
        """Near duplicates that were found, by the data's digest."""
        return self.cache / "leakage"

    def study(self, name: str) -> Path:
        """A study's working directory."""
        return self.home / "work" / name

    def trial(self, study: str, number: int) -> Path:
        """A trial's own directory."""
        return self.study(study) / f"trial-{number:05d}"


def find_places(*, tracking: str | None = None, storage: str | None = None) -> Places:
    """The places from the arguments, else the environment, else the defaults; nothing is created yet.

    Environment: `HPO_HOME`, `MLFLOW_TRACKING_URI`, `HPO_STORAGE`. Raises `StorageError` for a `file:` tracking URI.
    """
    home = Path(os.environ.get("HPO_HOME") or "mlruns").expanduser().absolute()
    tracking = tracking or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    storage = storage or os.environ.get("HPO_STORAGE") or f"sqlite:///{home / 'studies.db'}"
    if "://" not in tracking or tracking.startswith("file:"):
        raise StorageError(
            f"tracking {'***' if '@' in tracking else tracking}: MLflow no longer writes to plain files; use "
            "sqlite:///PATH, postgresql://... or the http:// address of a tracking server"
        )
    if tracking == storage:
        raise StorageError("tracking and storage must be two databases: MLflow and Optuna share a table name")
    return Places(home=home, tracking=tracking, storage=storage)


def make_home(places: Places) -> None:
    """Create the home directory. Raises `StorageError` when that is not possible."""
    try:
        places.artifacts.mkdir(parents=True, exist_ok=True)
        (places.home / "work").mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{places.home}: {error.strerror}; set HPO_HOME to a writable directory") from error
