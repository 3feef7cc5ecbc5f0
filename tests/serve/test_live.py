"""What only a real connection shows: cut, slow, doubled and crowded requests, against uvicorn with tight limits."""

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from pipelines.serve.limits import Limits
from tests.faults import shows
from tests.serving import MadeUp, a_model, a_shelf, live, parsed, post, read_all, send

GOOD = json.dumps({"text": "good film"}).encode()
SECONDS = 0.8  # that a head, a body, or an answer may take here
SOON = 5.0  # far less than without a limit, and enough for a busy machine


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with live(seconds=SECONDS) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_fails(port: int, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does, the server answers afterwards, and has logged no error."""
    with caplog.at_level(logging.ERROR):
        yield
        assert parsed(send(port, post(GOOD)))[0] == 200
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def code(answer: bytes) -> tuple[int, str]:
    status, headers, body = parsed(answer)
    assert headers["content-type"] == "application/json"
    assert "default-src 'none'" in headers["content-security-policy"]
    return status, body["error"]["code"]


def chunked(*parts: bytes, end: bool = True, headers: tuple[str, ...] = ()) -> bytes:
    body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
    return post(b"", "Transfer-Encoding: chunked", *headers, length=False) + body + (b"0\r\n\r\n" if end else b"")


def test_chunked_requests_are_answered_and_connections_kept(port: int) -> None:
    assert parsed(send(port, chunked(GOOD[:7], GOOD[7:])))[0] == 200
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v1/predict", GOOD, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["predictions"][0]["label"] == "good"
    connection.close()


def test_an_idle_connection_is_kept_for_a_while_and_then_closed() -> None:
    assert Limits().idle > 60, "whoever asks now and then must not meet the moment of closing"
    with live(idle=1) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(post(GOOD, close=False))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()[:1]) == (200, b"{"), "whole: its head and its body may come apart"
        start = time.monotonic()
        assert connection.recv(1) == b"", "closed by the server"
        assert 0.5 < time.monotonic() - start < SOON


def test_h09_a_large_body_is_refused_with_a_length_and_without_one(port: int) -> None:
    large = b"x" * 70_000
    assert code(send(port, post(large))) == (413, "body_too_large")
    assert code(send(port, chunked(*[b"x" * 10_000] * 7))) == (413, "body_too_large")
    announced = post(b"", "Content-Length: 99999999999", length=False)
    assert code(send(port, announced)) == (413, "body_too_large")
    expecting = post(b"", "Content-Length: 70000", "Expect: 100-continue", length=False)
    assert code(send(port, expecting)) == (413, "body_too_large"), "the client is not asked to send it"


def test_h09_a_body_without_end_is_not_read_for_ever(port: int) -> None:
    start = time.monotonic()
    answer = send(port, chunked(*[b"x" * 60_000] * 40, end=False))
    assert code(answer) == (413, "body_too_large")
    assert time.monotonic() - start < SOON


def test_h10_a_truncated_body_is_nobodys_request(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(post(GOOD)[:-5])
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    assert code(send(port, post(GOOD)[:-5])) == (408, "too_slow")


def test_h20_two_hosts_are_refused(port: int) -> None:
    assert code(send(port, post(GOOD, "Host: evil.example"))) == (400, "bad_request")
    assert code(send(port, b"GET /healthz HTTP/1.1\r\n\r\n")) == (400, "bad_request"), "none at all"
    elsewhere = b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert code(send(port, elsewhere)) == (404, "not_found")


def test_h22_a_large_head_is_refused(port: int) -> None:
    large = post(GOOD, "X-Large: " + "x" * 32_768)
    assert code(send(port, large)) == (400, "head_too_large")
    assert code(send(port, large[:20_000], pause=0.1)) == (400, "bad_request"), "the rest is not waited for"
    assert code(send(port, post(GOOD, *[f"X-{number}: x" for number in range(3_000)]))) == (400, "head_too_large")
    assert parsed(send(port, post(GOOD, "X-Large: " + "x" * 8_192)))[0] == 200


@pytest.mark.parametrize("whole", [post(GOOD), post(b"x" * 30, close=False)], ids=["head", "body"])
def test_h23_a_byte_at_a_time_is_too_slow(whole: bytes, port: int) -> None:
    head, body = whole.partition(b"\r\n\r\n")[::2]
    slow = [bytes([one]) for one in (head if body == GOOD else body)]
    parts = slow if body == GOOD else [head + b"\r\n\r\n", *slow]
    start = time.monotonic()
    assert code(send(port, *parts, pause=0.05)) == (408, "too_slow")
    assert time.monotonic() - start < SOON


def test_h23_a_second_request_that_begins_and_does_not_end_is_too_slow(port: int) -> None:
    start = time.monotonic()
    answers = send(port, post(GOOD, close=False), b"POST /v1/pre", pause=0.1)
    assert answers.count(b"HTTP/1.1 200") == 1
    assert answers.count(b"HTTP/1.1 408") == 1
    assert time.monotonic() - start < SOON


def test_h23_slow_clients_do_not_keep_others_waiting() -> None:
    with live(seconds=20.0) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        for connection in slow:
            connection.sendall(post(GOOD)[:-1])
        start = time.monotonic()
        assert parsed(send(port, post(GOOD)))[0] == 200
        assert time.monotonic() - start < SOON
        for connection in slow:
            connection.close()


def until_waiting(port: int, texts: int) -> None:
    """Return when so many texts wait for the model."""
    asked = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    end = time.monotonic() + 20
    while f"\nhpo_waiting_texts {texts}.0\n".encode() not in send(port, asked):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_h24_a_client_that_leaves_is_not_computed_for() -> None:
    runtime, begun, going = MadeUp(), threading.Event(), threading.Event()
    runtime.hold = lambda texts: begun.set() or (going.wait(10) and None)
    with live(a_shelf(a_model(runtime=runtime))) as port:
        for number in range(5):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(post(json.dumps({"text": f"good {number}"}).encode()))
                assert begun.wait(10)
                until_waiting(port, int(number > 0))
        until_waiting(port, 0)
        going.set()
        assert parsed(send(port, post(GOOD)))[0] == 200
    assert runtime.asked == [["good 0"], ["good film"]]


def test_h25_a_crowd_is_answered_or_refused_at_once() -> None:
    """200 connections where 32 texts may wait."""
    runtime, going = MadeUp(), threading.Event()
    runtime.hold = lambda texts: going.wait(20) and None
    with live(a_shelf(a_model(runtime=runtime)), waiting=32, batch=8, seconds=20.0) as port:
        connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
        took: list[float] = []
        for number, connection in enumerate(connections):
            start = time.perf_counter()
            connection.sendall(post(GOOD))
            if number >= 33:  # one is computed, 32 wait
                status, headers, body = parsed(read_all(connection))
                took.append(time.perf_counter() - start)
                assert (status, body["error"]["code"]) == (503, "busy")
                assert headers["retry-after"] == "1"
            else:
                time.sleep(0.01)
        assert median(took) < 0.05
        assert code(send(port, post(b"not JSON"))) == (503, "busy"), "it is not even read"
        going.set()
        answers = [parsed(read_all(connection))[0] for connection in connections[:33]]
        assert answers == [200] * 33
        for connection in connections:
            connection.close()
    assert [len(texts) for texts in runtime.asked] == [1, 8, 8, 8, 8]


@pytest.mark.parametrize(
    "request_",
    [
        post(GOOD, "Transfer-Encoding: chunked"),
        chunked(GOOD, headers=("Content-Length: 5",)),
        chunked(GOOD, headers=(f"Content-Length: {len(GOOD)}",)),
        post(GOOD, "Transfer-Encoding: gzip, chunked"),
        post(GOOD, "Transfer-Encoding: identity"),
        post(GOOD, "Transfer-Encoding : chunked"),
        post(GOOD, "Content-Length: 3"),
        post(GOOD, "Content-Length: +19", length=False),
        post(GOOD, "Content-Length: -1", length=False),
    ],
    ids=[
        "CL+TE",
        "TE+CL",
        "TE+CL of the text",
        "gzip",
        "identity",
        "blank before the colon",
        "CL+CL",
        "CL with a sign",
        "negative CL",
    ],
)
def test_h28_two_ways_to_tell_the_end_are_refused_and_the_connection_closed(request_: bytes, port: int) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = send(port, request_.replace(b"Connection: close\r\n", b"") + smuggled)
    assert code(answer)[0] == 400
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing behind it is taken for a request"


def test_h30_no_request_fails_while_versions_change() -> None:
    shelf, stop = a_shelf(a_model("0")), threading.Event()
    with live(shelf) as port:

        def load(number: int) -> list[tuple[int, str, str]]:
            connection, found = http.client.HTTPConnection("localhost", port, timeout=10), []
            while not stop.is_set():
                before = shelf.look("champion").version  # type: ignore[union-attr]
                connection.request("POST", "/v1/predict", GOOD, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = json.loads(answer.read())
                found.append((answer.status, before, body["model"]["version"]))
            connection.close()
            return found

        with ThreadPoolExecutor(4) as threads:
            loads = [threads.submit(load, number) for number in range(4)]
            for version in range(1, 30):
                time.sleep(0.02)
                shelf.put("champion", a_model(str(version)))
            stop.set()
            answers = [one for future in loads for one in future.result()]
    assert {status for status, _, _ in answers} == {200}
    assert len({version for _, _, version in answers}) > 10
    assert all(int(version) >= int(before) for _, before, version in answers), "never an older one than the shelf's"


@shows("hang", "K")
def test_a_model_that_hangs_is_not_waited_for() -> None:
    runtime, going = MadeUp(), threading.Event()
    runtime.hold = lambda texts: going.wait(10) and None
    with live(a_shelf(a_model(runtime=runtime)), seconds=SECONDS, waiting=2) as port:
        start = time.monotonic()
        status, _, body = parsed(send(port, post(GOOD)))
        assert (status, body["error"]["code"]) == (503, "no_answer_in_time")
        assert SECONDS <= time.monotonic() - start < SOON
        readiness = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        while parsed(send(port, readiness))[0] == 200:  # the batch began a moment after the request
            assert time.monotonic() - start < SOON
            time.sleep(0.05)
        assert code(send(port, readiness)) == (503, "stuck")
        going.set()
        assert parsed(send(port, post(GOOD)))[0] == 200
        assert parsed(send(port, readiness))[0] == 200


def test_the_shipped_limits_are_those_that_are_documented() -> None:
    limits = Limits()
    assert (limits.body_bytes, limits.seconds) == (65_536, 10.0)
