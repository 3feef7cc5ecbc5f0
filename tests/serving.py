"""A served model that is made up, and real servers around it, for the tests of serving."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.testclient import TestClient

from pipelines.errors import ModelError, UserError
from pipelines.serve.app import build
from pipelines.serve.limits import Access, Limits, Settings
from pipelines.serve.metrics import Metrics
from pipelines.serve.served import Facts, Served, Shelf
from pipelines.serve.server import configured, host_names, listen

LABELS = ("bad", "good")
MAX_LENGTH = 12  # words, to the made-up model


class MadeUp:
    """The more often a text has the word "good", the surer it is that it is good; `hold` lets it take its time."""

    labels = LABELS
    max_length = MAX_LENGTH

    def __init__(self, labels: tuple[str, ...] = LABELS) -> None:
        self.labels = labels
        self.hold: Callable[[Sequence[str]], None] = lambda texts: None
        self.asked: list[list[str]] = []

    def probabilities(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        self.asked.append(list(texts))
        self.hold(texts)
        if any("poison" in text for text in texts):
            raise RuntimeError(f"cannot read {texts}")
        good = np.array([1 - 0.5 / (1 + text.split().count("good")) for text in texts])
        good[["NaN" in text for text in texts]] = np.nan
        return np.column_stack([1 - good, good])

    def predicted(self, probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def a_model(version: str = "3", runtime: MadeUp | None = None, facts: Facts | None = None) -> Served:
    """A version of the made-up model."""
    return Served(
        "sentiment",
        version,
        "torch",
        runtime or MadeUp(),
        lambda text: len(text.split()) > MAX_LENGTH,  # type: ignore[arg-type]
        facts or Facts(),
    )


def a_shelf(model: Served | None = None) -> Shelf:
    """A shelf with a champion."""
    shelf = Shelf("champion")
    shelf.put("champion", model or a_model())
    return shelf


def settings(*, token: str | None = None, reports: Path | None = None, **limits: Any) -> Settings:
    """As `hpo serve` sets them, with other limits."""
    return Settings(Access(host_names("127.0.0.1", ["testserver"]), token), Limits(**limits), reports)


def a_client(shelf: Shelf | None = None, **changes: Any) -> TestClient:
    """A client of an application without a network."""
    app = build(shelf or a_shelf(), settings=settings(**changes), metrics=Metrics())
    return TestClient(app, base_url="http://localhost:8000")


def refusal(answer: Any) -> tuple[int, str, str | None]:
    """Status, code and place of a refusal, which has the one form that all have."""
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"code", "message", "where"}
    assert error["message"]
    assert "\n" not in error["message"]
    return answer.status_code, error["code"], error["where"]


@contextmanager
def live(shelf: Shelf | None = None, *, port: int = 0, **changes: Any) -> Iterator[int]:
    """A real server in a thread, on loopback; gives its port."""
    wanted = settings(**changes)
    app = build(shelf or a_shelf(), settings=wanted, metrics=Metrics())
    listening = listen("127.0.0.1", port)
    server = uvicorn.Server(configured(app, wanted.limits))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


def send(port: int, *parts: bytes, pause: float = 0.0, seconds: float = 10.0) -> bytes:
    """Send bytes as they are, part by part, and read until the server closes, or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # the server has answered, and closed
                break
            time.sleep(pause)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the connection is closed, or is silent for its time limit."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except (TimeoutError, ConnectionResetError):
        pass
    return found


def post(body: bytes, *headers: str, path: str = "/v1/predict", close: bool = True, length: bool = True) -> bytes:
    """A request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def parsed(answer: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the first answer in some bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body) if body else None


class Registry:
    """A source of made-up versions: what the aliases name, and what befalls whoever asks."""

    def __init__(self, champion: str | None = "1", challenger: str | None = None) -> None:
        self.main = "champion"
        self.slots: tuple[str, ...] = ("champion", "challenger")
        self.aliases = {"champion": champion, "challenger": challenger}
        self.bad: set[str] = set()
        self.loads: list[str] = []
        self.away: UserError | None = None
        self.models: dict[str, Served] = {}

    def version(self, slot: str) -> str | None:
        if self.away is not None:
            raise self.away
        return self.aliases[slot]

    def load(self, version: str) -> Served:
        self.loads.append(version)
        if version in self.bad:
            raise ModelError(f"/secret/place/{version}: damaged")
        return self.models.setdefault(version, a_model(version))
