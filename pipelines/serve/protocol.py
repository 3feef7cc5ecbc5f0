"""uvicorn's HTTP/1.1 by h11, with a time limit for a request's head, and refusals in the form of all others.

h11 reads strictly: it refuses two Host headers, two lengths and odd line ends.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.serve.border import HEADERS


class Impatient(H11Protocol):
    """One connection; uvicorn itself would wait for a head for ever."""

    seconds = 10.0
    """For a head to arrive whole, from its first byte, or from the connection's begin."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """A head begins, goes on, or is whole; or it is a body, which has a limit of its own."""
        before = self.cycle
        if self._timer is None and (before is None or before.response_complete):
            self._await_head()
        super().data_received(data)
        if self.cycle is not before:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot read."""
        self._refuse("400 Bad Request", code="bad_request", message="this is not a request in HTTP/1.1")

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._too_slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        message = f"the request did not arrive within {self.seconds:g} seconds"
        self._refuse("408 Request Timeout", code="too_slow", message=message)

    def _refuse(self, status: str, *, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps({"error": {"code": code, "message": message, "where": None}}).encode()
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers = [*own, (b"connection", b"close"), (b"cache-control", b"no-store"), *HEADERS]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(f"HTTP/1.1 {status}\r\n".encode() + head + b"\r\n" + body)
        self.transport.close()


def within(seconds: float) -> type[H11Protocol]:
    """The protocol with another time limit."""
    return type("Impatient", (Impatient,), {"seconds": seconds})
