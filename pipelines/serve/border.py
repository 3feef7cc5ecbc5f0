"""The border of the server: what is refused before any of our own code looks at it, and the headers of every answer.

An ASGI application around another. A body is read as a whole first, within its limits of bytes and seconds: so whoever
sends slowly holds nothing but a connection, and a refusal reaches a client that is still sending.
"""

import asyncio
import hmac
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serve.limits import Access, Limits
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import Refusal, answer, busy

POSTS = frozenset({"/v1/predict", "/v1/reports"})
PAGES = POSTS | {
    "/", "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json",
}  # fmt: skip
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
"""Headers of every answer; there is none that lets other origins read."""
HEAD_BYTES = 16_384
"""Bytes of a request's head, at most."""
_DRAINED = 2**20  # bytes of a body that is too large: read and dropped, so that the client gets to read the refusal
_JSON = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?', re.IGNORECASE)
_CLOSE = {"Connection": "close"}

log = logging.getLogger(__name__)


class _GoneError(Exception):
    """The client left before it had its answer."""


class Border:
    """Reads requests within their limits, refuses what must not come in, and lets the rest in."""

    def __init__(
        self, inside: ASGIApp, *, limits: Limits, access: Access, metrics: Metrics, full: Callable[[], bool]
    ) -> None:
        """`full` says whether the model's queue is; then a question is refused unread."""
        self._inside, self._limits, self._access = inside, limits, access
        self._metrics, self._full = metrics, full
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        request = _Request(scope, send, self._metrics)
        self._open += 1
        try:
            await self._let_in(request, receive)
        except _GoneError:
            pass
        except Refusal as refusal:
            await request.refuse(refusal)
        except Exception as error:
            _log_without_texts(error)
            await request.refuse(Refusal(500, "internal", "the server failed; its log says where"))
        finally:
            self._open -= 1

    async def _let_in(self, request: "_Request", receive: Receive) -> None:
        if self._open > self._limits.open_requests:
            raise Refusal(503, "busy", "too many requests are open", headers=_CLOSE | {"Retry-After": "1"})
        _check_head(request)
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await _read(request, receive, self._limits.body_bytes)
        except TimeoutError:
            message = f"the body did not arrive within {self._limits.seconds:g} seconds"
            raise Refusal(408, "too_slow", message, headers=_CLOSE) from None
        _check_host(request, self._access.hosts)
        _check_token(request, self._access.token)
        if request.path in POSTS and request.scope["method"] == "POST":
            _check_body(request, body)
            if request.path == "/v1/predict" and self._full():
                raise busy("too many texts are waiting; try again in a second")
        try:
            async with asyncio.timeout(self._limits.seconds):
                await _unless_left(self._inside(request.scope, _replay(body), request.send), receive)
        except TimeoutError:
            message = f"there was no answer within {self._limits.seconds:g} seconds"
            raise Refusal(503, "no_answer_in_time", message, headers={"Retry-After": "5"}) from None


class _Request:
    """A request's head, and its answer on the way out."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        self.scope, self.path = scope, str(scope["path"])
        self._send, self._metrics, self._start, self._answered = send, metrics, perf_counter(), False

    def header(self, name: bytes) -> str | None:
        """The only header of that name. Raises `Refusal` where there are several."""
        found = [value for key, value in self.scope["headers"] if key == name]
        if len(found) > 1:
            raise Refusal(400, "doubled_header", f"the header {name.decode()} is there twice", headers=_CLOSE)
        return found[0].decode("latin-1") if found else None

    async def send(self, message: Message) -> None:
        """The answer's head gets our headers, and is counted."""
        if message["type"] == "http.response.start":
            self._answered = True
            headers = [*message["headers"], *HEADERS]
            if not any(key == b"cache-control" for key, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
            self._metrics.request(_page(self.path), message["status"], perf_counter() - self._start)
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, unless there is an answer already."""
        if not self._answered:
            await answer(refusal)(self.scope, _replay(b""), self.send)


def _page(path: str) -> str:
    """What a request counts as: a stranger's path must not become a metric's label."""
    return path if path in PAGES else "/assets/" if path.startswith("/assets/") else "other"


def _check_head(request: _Request) -> None:
    """A head of some size, and one way only to tell where a request ends: another server might take the other one."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) + len(request.path) > HEAD_BYTES:
        raise Refusal(400, "head_too_large", f"a request's head may have {HEAD_BYTES:,} bytes at most", headers=_CLOSE)
    length, coding = request.header(b"content-length"), request.header(b"transfer-encoding")
    if length is not None and coding is not None:
        raise Refusal(400, "two_lengths", "Content-Length and Transfer-Encoding exclude each other", headers=_CLOSE)
    if length is not None and not re.fullmatch(r"\d{1,18}", length, re.ASCII):
        raise Refusal(400, "bad_length", "Content-Length is no number", headers=_CLOSE)


async def _read(request: _Request, receive: Receive, most: int) -> bytes:
    """The whole body. Raises `Refusal` (413), and `_GoneError` where the client leaves."""
    announced = int(request.header(b"content-length") or 0)
    large = announced > most
    body, size, more = bytearray(), 0, announced <= _DRAINED and not (large and request.header(b"expect"))
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        large = large or size > most
        if not large:
            body += part
        elif size > _DRAINED:
            break
    if large:
        raise Refusal(413, "body_too_large", f"a body may have {most:,} bytes at most", headers=_CLOSE)
    return bytes(body)


def _check_host(request: _Request, hosts: frozenset[str]) -> None:
    """A name that somebody else's page made its own must not lead here ("DNS rebinding"), nor its scripts ask."""
    host = request.header(b"host") or ""
    if re.sub(r":\d{1,5}$", "", host).lower() not in hosts:
        raise Refusal(421, "wrong_host", "this server does not answer to that Host name; see --allowed-host")
    origin = request.header(b"origin")
    if origin is not None and origin.lower().partition("://")[2] != host.lower():
        raise Refusal(403, "foreign_origin", "pages of other origins may not ask this server")


def _check_token(request: _Request, token: str | None) -> None:
    if token is None or not (request.path.startswith("/v1/") or request.path == "/metrics"):
        return
    kind, _, given = (request.header(b"authorization") or "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refusal(401, "no_token", "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})


def _check_body(request: _Request, body: bytes) -> None:
    if not _JSON.fullmatch((request.header(b"content-type") or "").strip()):
        raise Refusal(415, "not_json", "the Content-Type must be application/json, in UTF-8")
    if not body:
        raise Refusal(400, "empty_body", "the body is empty")


def _replay(body: bytes) -> Receive:
    """Hands the body on, as a server does; then nothing more comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return {"type": "http.disconnect"}

    return receive


async def _unless_left(answering: Awaitable[None], receive: Receive) -> None:
    """Answer; but a client that leaves meanwhile is not computed for. Raises `_GoneError` then."""
    answered, leaves = asyncio.ensure_future(answering), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((answered, leaves), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise _GoneError
        await answered
    finally:
        answered.cancel()
        leaves.cancel()
        await asyncio.gather(answered, leaves, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _log_without_texts(error: Exception) -> None:
    """Where it happened and of which kind it is; a message, or a value, may hold somebody's text."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("a request failed: %s\n%s", type(error).__name__, frames)
