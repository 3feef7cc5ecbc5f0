"""Tiny checkpoints and toy data, built once; and no test speaks to anything outside this machine."""

import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by libraries when they are imported, so before everything else.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order: equal seeds give equal bits
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from benchmarks.postgres import Postgres
from pipelines.data import Dataset, save_dataset
from tests import tiny
from tests.faults import Cell, table

if TYPE_CHECKING:
    from hpo.executors.local import LocalExecutor
    from pipelines.workbench import Workbench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test's report carry the cells of the fault matrix that it shows."""
    for item in items:
        item.user_properties += [("fault", mark.args) for mark in item.iter_markers("fault")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix with what became of each cell, where any test showed one."""
    outcomes: dict[Cell, set[str]] = {}
    for kind, outcome in {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}.items():
        for report in terminalreporter.stats.get(kind, []):
            for fault, phases in (value for key, value in getattr(report, "user_properties", ()) if key == "fault"):
                for phase in phases:
                    outcomes.setdefault((fault, phase), set()).add(outcome)
    if outcomes:
        terminalreporter.section("faults x phases")
        for line in table(outcomes):
            terminalreporter.write_line(line)


class OutboundError(AssertionError):
    """A test tried to reach another machine."""


def refuse_outbound(address: Any) -> None:
    """Raises `OutboundError` unless an address is of this machine; paths are Unix sockets."""
    if not isinstance(address, tuple):
        return
    host = str(address[0])
    try:
        local = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        local = host in {"localhost", ""}
    if not local:
        raise OutboundError(f"connection to {address}")


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LocalExecutor]":
    """Two warm workers, shared by the tests of a file: what one does to them must not trouble the next."""
    from hpo.executors.local import LocalExecutor

    with closing(LocalExecutor(workers=2, threads=1, logs=tmp_path_factory.mktemp("logs"))) as shared:
        yield shared


@pytest.fixture(scope="module")
def quick_sqlite() -> Iterator[None]:
    """No waiting for the disk in this process: the kernel does not crash in tests."""

    import sqlite3

    import sqlalchemy as sa

    def hurry(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    sa.event.listen(sa.Engine, "connect", hurry)
    yield
    sa.event.remove(sa.Engine, "connect", hurry)


@pytest.fixture(autouse=True)
def no_tracker_of_an_earlier_test() -> None:
    """MLflow puts the address that it was told into the environment, where other processes would find it."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session", autouse=True)
def hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the caller's settings, nothing of the network."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(self: socket.socket, address: Any) -> None:
        refuse_outbound(address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        refuse_outbound(address)
        return connect_ex(self, address)

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_") or name == "HPO_STORAGE"]:
            patch.delenv(name)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("HPO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket.socket, "connect_ex", guarded_ex)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL."""
    with closing(Postgres()) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each family, by short name."""
    home = tmp_path_factory.mktemp("checkpoints")
    return {family: tiny.save_checkpoint_of(family, home) for family in tiny.FAMILIES}


@pytest.fixture(scope="session")
def tiny_bert(tiny_checkpoints: dict[str, Path]) -> Path:
    """A random BERT checkpoint."""
    return tiny_checkpoints["bert"]


@pytest.fixture(scope="session")
def toy_dataset() -> Dataset:
    """Two classes, told apart by their words: 240 rows to train on."""
    return tiny.dataset()


@pytest.fixture(scope="session")
def toy_data_dir(toy_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two-class data as a directory."""
    directory = tmp_path_factory.mktemp("data") / "toy"
    save_dataset(toy_dataset, directory)
    return directory


@pytest.fixture(scope="session")
def toy_dataset_3() -> Dataset:
    """Three classes, told apart by their words: 240 rows to train on."""
    return tiny.dataset(classes=3)


@pytest.fixture(scope="session")
def toy_data_dir_3(toy_dataset_3: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three-class data as a directory."""
    directory = tmp_path_factory.mktemp("data") / "toy3"
    save_dataset(toy_dataset_3, directory)
    return directory


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: it takes seconds."""
    from pipelines.connection import connect  # imports MLflow: only for those who need it

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def workbench(monkeypatch: pytest.MonkeyPatch) -> Iterator["Workbench"]:
    """A workbench as a process has it that just started."""
    from pipelines import run as run_module  # imports torch: only for those who need it
    from pipelines.workbench import Workbench

    fresh = Workbench()
    monkeypatch.setattr(run_module, "_WORKBENCH", fresh)
    yield fresh
    if fresh._trial is not None:
        fresh._trial.journal.close()


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than everything else together, and are tested elsewhere."""
    from pipelines import report
    from pipelines import run as run_module

    monkeypatch.setattr(report, "draw_report", lambda *_: None)
    monkeypatch.setattr(run_module, "draw_training", lambda *_: None)


@pytest.fixture
def hub_cache(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub's cache with two revisions of `acme/tiny`; the second one's word embeddings are twice the first's."""
    import huggingface_hub.constants
    from safetensors.torch import load_file, save_file

    repository = tmp_path / "models--acme--tiny"
    for number, revision in enumerate(("1" * 40, "2" * 40), start=1):
        snapshot = repository / "snapshots" / revision
        shutil.copytree(tiny_bert, snapshot)
        weights = load_file(snapshot / "model.safetensors")
        weights["embeddings.word_embeddings.weight"] *= number
        save_file(weights, snapshot / "model.safetensors", metadata={"format": "pt"})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    (repository / "refs" / "v2").write_text("2" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return "acme/tiny"
