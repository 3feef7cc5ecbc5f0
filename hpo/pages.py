"""Web pages of the tools below us, on loopback: MLflow, and optuna-dashboard when it is installed."""

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable

from hpo.places import Places
from pipelines.errors import ConfigError, StorageError


def serve_pages(places: Places, *, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. Raises `ConfigError` when a port is taken."""
    commands = {}
    if places.tracking.startswith(("http://", "https://")):
        say(f"MLflow            {places.tracking}")
    else:
        commands["MLflow"] = (port, _mlflow(places, port))
    if importlib.util.find_spec("optuna_dashboard"):
        commands["optuna-dashboard"] = (port + 1, _dashboard(places, port + 1))
    for taken, _ in commands.values():
        _refuse_taken(taken)
    running = []
    for name, (at, command) in commands.items():
        running.append(subprocess.Popen(command, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}))
        say(f"{name:17} http://127.0.0.1:{at}")
    try:
        for process in running:
            if process.wait() not in {0, -2, -15, 130}:
                raise StorageError("a page ended by itself; see its message above")
    finally:
        for process in running:
            process.terminate()


def _mlflow(places: Places, port: int) -> list[str]:
    """One process, one loopback address, only these host names."""
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", places.tracking,
        "--default-artifact-root", str(places.artifacts), "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--allowed-hosts", f"127.0.0.1:{port},localhost:{port}",
    ]  # fmt: skip


def _dashboard(places: Places, port: int) -> list[str]:
    call = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    return [sys.executable, "-c", call, places.storage, "--host", "127.0.0.1", "--port", str(port)]


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}; choose another with --port") from error
