"""The server as a process: a socket, uvicorn, and the thread that watches the registry."""

import ipaddress
import socket
from collections.abc import Callable, Iterable

import uvicorn
from starlette.types import ASGIApp

from pipelines.errors import ConfigError
from pipelines.serve.app import build
from pipelines.serve.border import HEAD_BYTES
from pipelines.serve.limits import Limits, Settings
from pipelines.serve.metrics import Metrics
from pipelines.serve.protocol import within
from pipelines.serve.served import Shelf
from pipelines.serve.sources import Source
from pipelines.serve.watch import Watch

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_GRACE_SECONDS = 10  # for requests under way when the server is told to end


def serve(source: Source, *, host: str, port: int, settings: Settings, say: Callable[[str], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; then those under way are finished.

    Raises `ConfigError` where the address cannot be had or the reports' file cannot be written.
    """
    shelf, metrics = Shelf(source.main), Metrics()
    app = build(shelf, settings=settings, metrics=metrics)
    listening = listen(host, port)
    watch = Watch(source, shelf, metrics=metrics, say=say)
    say(f"http://{_in_url(host)}:{listening.getsockname()[1]}")
    watch.start()
    try:
        uvicorn.Server(configured(app, settings.limits)).run(sockets=[listening])
    finally:
        watch.stop()


def configured(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    """uvicorn's settings: one process, HTTP/1.1 alone, and no log of who asked what."""
    return uvicorn.Config(
        app,
        http=within(limits.seconds),
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=limits.idle,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` where the address is taken or is not this machine's."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{host} port {port}: {reason}; choose others with --host and --port") from error
    # Connections inherit it. asyncio sets it for sockets made with IPPROTO_TCP alone; without it an answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def host_names(host: str, others: Iterable[str]) -> frozenset[str]:
    """The Host names to answer to: those of loopback, the address that is listened at, and `others`."""
    names = {*_LOOPBACK, *others}
    if not is_any(host):
        names.add(_in_url(host))
    return frozenset(name.lower() for name in names)


def is_any(host: str) -> bool:
    """Whether an address stands for all of a machine's."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can ask there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
