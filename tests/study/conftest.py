"""A home with an empty storage, and sessions of studies there."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo.executors import Executor
from hpo.executors.local import LocalExecutor
from hpo.storage import open_storage
from hpo.study import Controller
from tests.stub import a_controller, a_spec, instruct

from .checks import Session


@pytest.fixture(scope="package")
def empty_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with Optuna's tables, made once."""
    path = tmp_path_factory.mktemp("storage") / "studies.db"
    open_storage(f"sqlite:///{path}")
    return path


@pytest.fixture
def home(tmp_path: Path, empty_storage: Path) -> Path:
    shutil.copy(empty_storage, tmp_path / "studies.db")
    return tmp_path


@pytest.fixture
def session(home: Path, executor: LocalExecutor) -> Session:
    """Open a session of a study in this test's home; orders go to the stub."""

    def start(orders: dict[str, Any] | None = None, /, *, using: Executor = executor, **changes: Any) -> Controller:
        given = {
            key: changes.pop(key) for key in ("mirror", "show", "precision", "prospect", "compiled") if key in changes
        }
        spec = a_spec(**changes)
        if orders is not None:
            instruct(home / "work" / spec.name, **orders)
        return a_controller(spec, home, using, **given)

    return start
