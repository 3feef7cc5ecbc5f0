"""The server as a process: its address, its signals, a kill, its reports' file, and the command itself."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from pipelines.errors import ConfigError, ModelError
from pipelines.serve import reports as reports_module
from pipelines.serve import server
from pipelines.serve.refusal import Refusal
from pipelines.serve.reports import Reports
from pipelines.serve.runtimes import Kind
from pipelines.serve.server import host_names, is_loopback, listen
from tests.faults import shows
from tests.serving import Registry

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, time
from pathlib import Path
from pipelines.serve.server import serve
from tests.serving import Registry, settings
source = Registry()
def slowly(texts):
    if texts[0] == "slow":
        print("computing", flush=True)
        time.sleep(0.5)
source.load("1").runtime.hold = slowly
wanted = settings(reports=Path(sys.argv[2]))
serve(source, host="127.0.0.1", port=int(sys.argv[1]), settings=wanted, say=lambda line: print(line, flush=True))
"""
REPORT = {"text": "dull", "predicted": "good", "label": "bad"}


@contextmanager
def process(port: int, file: Path) -> Iterator["subprocess.Popen[str]"]:
    """The server with a made-up registry, once it answers."""
    command = [sys.executable, "-c", SCRIPT, str(port), str(file)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        assert started.stdout.readline().startswith("http://127.0.0.1:")
        assert started.stdout.readline() == "sentiment version 1 answers as champion (torch)\n"
        yield started
    finally:
        started.kill()
        started.wait()
        for stream in (started.stdout, started.stderr):
            assert stream is not None
            stream.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, value: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


@shows("SIGTERM, SIGINT", "K")
def test_a_server_that_is_told_to_end_answers_what_is_under_way(tmp_path: Path) -> None:
    port, found = free_port(), []
    with process(port, tmp_path / "reports.jsonl") as running:
        asked = threading.Thread(target=lambda: found.append(ask(port, "/v1/predict", {"text": "slow"})[0]))
        asked.start()
        assert running.stdout is not None
        assert running.stdout.readline() == "computing\n"
        running.send_signal(signal.SIGTERM)
        asked.join(timeout=20)
        assert found == [200]
        assert running.wait(timeout=20) == -signal.SIGTERM
        assert running.stderr is not None
        assert running.stderr.read() == ""


@shows("SIGKILL controller", "K")
@shows("memory limit", "K")
def test_after_a_kill_the_same_command_serves_again_and_no_report_is_lost(tmp_path: Path) -> None:
    """By the kernel too, for want of memory."""
    port, file = free_port(), tmp_path / "reports.jsonl"
    with process(port, file) as running:
        assert [ask(port, "/v1/reports", REPORT)[0] for _ in range(3)] == [201] * 3
        running.kill()
        running.wait()
    with file.open("a") as torn:
        torn.write('{"text": "half a li')  # what a kill in the middle of a write leaves
    with process(port, file):
        assert ask(port, "/v1/predict", {"text": "good"})[0] == 200
        assert ask(port, "/v1/reports", REPORT)[0] == 201
    lines = file.read_text().splitlines()
    assert [json.loads(line)["label"] for line in [*lines[:3], lines[4]]] == ["bad"] * 4
    assert len(lines) == 5


@shows("two controllers", "K")
def test_two_servers_may_write_to_one_file(tmp_path: Path) -> None:
    both = [Reports(tmp_path / "reports.jsonl") for _ in range(2)]

    def write(mine: Reports) -> None:
        for number in range(50):
            mine.append(text=f"{number} " * 500, predicted="good", label="bad", model="sentiment/1")

    threads = [threading.Thread(target=write, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "reports.jsonl").read_text().splitlines()
    assert len(lines) == 100
    assert {json.loads(line)["label"] for line in lines} == {"bad"}


@shows("disk full", "K")
@pytest.mark.parametrize("moment", ["write", "fsync"])
def test_a_report_that_finds_the_disk_full_is_refused_and_leaves_nothing(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reports.jsonl"
    mine = Reports(file)
    told = {"text": "dull", "predicted": "good", "label": "bad", "model": "sentiment/1"}
    mine.append(**told)
    before, write = file.read_bytes(), os.write

    def full(descriptor: int, content: bytes = b"") -> int:
        if moment == "write":
            return write(descriptor, content[:10])  # the rest finds no room
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(reports_module.os, moment, full)
        with pytest.raises(Refusal) as caught:
            mine.append(**told)
    assert (caught.value.status_code, caught.value.code) == (503, "not_stored")
    assert file.read_bytes() == before
    mine.append(**told)
    assert len(file.read_text().splitlines()) == 2


def test_a_file_of_reports_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_module, "_LARGEST", 200)
    mine = Reports(tmp_path / "reports.jsonl")
    told = {"text": "dull", "predicted": "good", "label": "bad", "model": "sentiment/1"}
    mine.append(**told)
    mine.append(**told)
    with pytest.raises(Refusal, match="no more reports are taken"):
        mine.append(**told)


def test_a_file_of_reports_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Reports(tmp_path)
    assert str(caught.value) == f"--reports {tmp_path}: Is a directory; name a file in a writable directory"


# Addresses


def test_a_port_that_is_taken_is_one_line() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            listen("127.0.0.1", port)
    message = str(caught.value)
    assert message.startswith(f"127.0.0.1 port {port}: Address already in use")
    assert message.endswith("; choose others with --host and --port")
    with pytest.raises(ConfigError, match="choose others with --host and --port"):
        listen("203.0.113.1", 0)


def test_answers_leave_at_once() -> None:
    """Without TCP_NODELAY head and body of an answer are 40 ms apart."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_names_that_are_given_lead_to_a_server_for_the_network() -> None:
    loopback = {"127.0.0.1", "localhost", "[::1]"}
    assert host_names("127.0.0.1", []) == loopback
    assert host_names("0.0.0.0", []) == loopback
    assert host_names("::", ["Reviews.Example"]) == loopback | {"reviews.example"}
    assert host_names("192.0.2.1", []) == loopback | {"192.0.2.1"}
    assert host_names("fe80::1", []) == loopback | {"[fe80::1]"}
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.0.2.1", "x")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


# The command


class Called(Exception):  # noqa: N818
    """The server would begin here."""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How the command calls the server."""
    found: dict[str, Any] = {}

    def source(reference: str, **how: Any) -> Registry:
        if reference == "nobody":
            raise ModelError("there is no registered model 'nobody'; there are: none")
        found.update(reference=reference, **how)
        return Registry()

    monkeypatch.setattr("pipelines.serve.sources.RegistrySource", source)
    monkeypatch.setattr(server, "serve", lambda source, **how: found.update(how))
    return found


def run(*words: str, **env: str) -> Any:
    return CliRunner().invoke(app, ["serve", *words], env=env)


def test_the_command_serves_on_loopback_by_default(called: dict[str, Any]) -> None:
    shown = run("sentiment@champion")
    assert (shown.exit_code, shown.output) == (0, "")
    assert (called["reference"], called["kind"], called["host"], called["port"]) == (
        "sentiment@champion",
        Kind.AUTO,
        "127.0.0.1",
        8000,
    )
    settings = called["settings"]
    assert (settings.access.token, settings.reports) == (None, None)
    assert settings.access.hosts == {"127.0.0.1", "localhost", "[::1]"}


def test_the_token_comes_from_the_environment_or_the_option_and_is_never_shown(called: dict[str, Any]) -> None:
    shown = run("sentiment", HPO_TOKEN="CANARY")
    assert called["settings"].access.token == "CANARY"
    assert "CANARY" not in shown.output
    assert "CANARY" not in repr(called["settings"])
    run("sentiment", "--token", "other", HPO_TOKEN="CANARY")
    assert called["settings"].access.token == "other"
    assert "CANARY" not in run("--help", HPO_TOKEN="CANARY").output


@pytest.mark.parametrize("token", ["", " ", "two\nlines", "größer", " blank"])
def test_a_token_that_no_header_could_carry_is_refused(token: str, called: dict[str, Any]) -> None:
    shown = run("sentiment", HPO_TOKEN=token)
    assert isinstance(shown.exception, ConfigError)
    assert str(shown.exception) == "--token or HPO_TOKEN: a token is made of visible ASCII characters, at least one"


def test_the_network_without_a_token_is_pointed_out(called: dict[str, Any]) -> None:
    warning = "anybody who reaches 0.0.0.0 may ask: set HPO_TOKEN to ask them for a token\n"
    assert run("sentiment", "--host", "0.0.0.0", "--allowed-host", "reviews.example").output == warning
    assert "reviews.example" in called["settings"].access.hosts
    assert run("sentiment", "--host", "0.0.0.0", HPO_TOKEN="secret").output == ""


def test_mistakes_of_the_command_are_one_line_each(called: dict[str, Any], tmp_path: Path) -> None:
    unknown = run("sentiment", "--runtime", "onxx").exception
    assert isinstance(unknown, ConfigError)
    assert str(unknown) == "--runtime onxx: it is one of auto, torch, onnx, onnx-int8"
    assert isinstance(run("nobody").exception, ModelError)
    empty = run(str(tmp_path)).exception
    assert isinstance(empty, ModelError)
    assert str(empty) == f"{tmp_path}: no model of ours (hpo.json is missing); see: hpo pull"
