"""Servers as processes, and loads on them by locust: what `benchmarks.serve` measures with."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

_START_SECONDS = 180.0
_WARM_UP_SECONDS = 1.0  # of each load: what is answered then does not count


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    pid: int

    def memory(self) -> float:
        """Resident MiB of it and its children."""
        process = psutil.Process(self.pid)
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 2**20


@dataclass(frozen=True)
class Load:
    """Requests for some time."""

    people: int
    """Connections."""
    seconds: float
    """That count; a second more goes before."""
    texts: int = 1
    """In each request."""
    rate: float = 0.0
    """Requests a second of each person; 0: the next as soon as the last one is answered."""


@dataclass(frozen=True)
class Answers:
    """What came of a load."""

    load: Load
    ended: Sequence[float]
    """Seconds, of a clock, when each was answered."""
    took: Sequence[float]
    """Seconds, of each request."""
    status: Sequence[int]
    """HTTP status of each; 0: no answer."""

    @property
    def accepted(self) -> list[float]:
        """Seconds of the requests that were answered."""
        return [took for took, status in zip(self.took, self.status, strict=True) if status == 200]

    @property
    def refused(self) -> list[float]:
        """Seconds of those that were told to come back."""
        return [took for took, status in zip(self.took, self.status, strict=True) if status in {429, 503}]

    @property
    def broken(self) -> int:
        """Requests with any other status, or none."""
        return len(self.status) - len(self.accepted) - len(self.refused)

    @property
    def rate(self) -> float:
        """Accepted texts a second."""
        return len(self.accepted) * self.load.texts / self.load.seconds

    @property
    def offered(self) -> float:
        """Requests a second, whatever became of them."""
        return len(self.status) / self.load.seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many of a hundred stay below; NaN where there are none."""
    return float(np.percentile(values, share)) if values else float("nan")


@contextmanager
def started(command: Sequence[str], *, port: int, threads: int | None = None) -> Iterator[Server]:
    """A server's process, once a model answers at `port`. Raises `RuntimeError` where it does not begin."""
    limits = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, *command], env=os.environ | quiet | limits, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no answer from: {' '.join(command)}")
            time.sleep(0.2)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def put_under(load: Load, server: Server, *, source: Path) -> Answers:
    """Let locust ask, and read what it noted. `source`: a JSON list of texts. Raises `RuntimeError` where it fails."""
    output = source.with_name("answers.json")
    output.unlink(missing_ok=True)
    settings = {"source": str(source), "texts": load.texts, "rate": load.rate, "output": str(output)}
    environment = os.environ | {"LOAD": json.dumps(settings)}
    done = subprocess.run(_locust(load, server), env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not output.exists():
        raise RuntimeError(f"locust failed: {done.stderr[-2000:]}")
    return answers(json.loads(output.read_text()), load)


def answers(noted: Sequence[Sequence[float]], load: Load) -> Answers:
    """(ended, took, status) of each request, without those that were begun while the load warmed up."""
    begin = min((ended - took for ended, took, _ in noted), default=0.0) + _WARM_UP_SECONDS
    counted = [one for one in noted if one[0] - one[1] >= begin]
    ended, took, status = zip(*counted, strict=True) if counted else ((), (), ())
    return Answers(load, ended, took, [int(one) for one in status])


def _locust(load: Load, server: Server) -> list[str]:
    options: Mapping[str, str] = {
        "-f": str(Path(__file__).with_name("load.py")),
        "--host": f"http://127.0.0.1:{server.port}",
        "--users": str(load.people),
        "--spawn-rate": str(load.people),
        "--run-time": f"{load.seconds + _WARM_UP_SECONDS:g}s",
        "--loglevel": "ERROR",
        "--exit-code-on-error": "0",
    }
    words = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", "--stop-timeout", "5", *words]


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
