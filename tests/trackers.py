"""A real MLflow tracking server on loopback, which can be stopped, and a proxy before it that spoils answers."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class TrackingServer:
    """MLflow's server with its own database and artifacts; one address, however often it is started again."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._home = home
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin; it answers some seconds later."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._home}/mlflow.db",
            "--artifacts-destination", str(self._home / "artifacts"),
            "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1",
        ]  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, env=kept | quiet, cwd=self._home, stdout=null, stderr=null, start_new_session=True
        )

    def wait(self, seconds: float = 120.0) -> None:
        """Until it answers."""
        end = time.monotonic() + seconds
        while not self._answers():
            assert time.monotonic() < end, "the tracking server does not start"
            time.sleep(0.2)

    def stop(self) -> None:
        """End at once, as a crash does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Proxy:
    """Passes requests on to a server; `spoil(number)` says how the answer to a POST is spoilt, or is empty.

    `lost`: the request is done and the connection closed without a word. `half`: with half of the answer. `refused`: it
    is not done, and answered with 503. `slow`: the answer comes after a second.
    """

    def __init__(self, url: str, spoil: Callable[[int], str]) -> None:
        self.spoilt: list[str] = []
        self._target, self._spoil, self._count = url.removeprefix("http://"), spoil, 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    def _next(self, method: str) -> str:
        with self._lock:
            self._count += method != "GET"
            fault = self._spoil(self._count) if method != "GET" else ""
            self.spoilt += [fault] if fault else []
            return fault

    def _forward(self, request: BaseHTTPRequestHandler) -> tuple[int, str, bytes]:
        length = int(request.headers.get("Content-Length") or 0)
        upstream = http.client.HTTPConnection(self._target, timeout=30)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in {"host", "connection"}}
        upstream.request(request.command, request.path, request.rfile.read(length), headers)
        answer = upstream.getresponse()
        found = answer.status, answer.headers.get("Content-Type", "application/json"), answer.read()
        upstream.close()
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                fault = proxy._next(self.command)
                if fault == "refused":
                    self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    self._answer(503, "text/plain", b"busy", whole=True)
                    return
                status, kind, body = proxy._forward(self)
                if fault == "slow":
                    time.sleep(1.0)
                if fault != "lost":
                    self._answer(status, kind, body, whole=fault != "half")
                self.close_connection = True

            def _answer(self, status: int, kind: str, body: bytes, *, whole: bool) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) if whole else len(body) + 10))
                self.end_headers()
                self.wfile.write(body if whole else body[: len(body) // 2])

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        return Handler
