"""The command that answers requests."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import Tracking

if TYPE_CHECKING:
    from pipelines.serve.sources import Source

_TOKEN = "HPO_TOKEN"


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(serve)


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@ALIAS|/VERSION]", help="A registered model, its champion by default; or what `pull` wrote."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; others than loopback let the network in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8000,
    runtime: Annotated[
        str, typer.Option(help="auto, torch, onnx or onnx-int8; auto is ONNX where it answers as PyTorch does.")
    ] = "auto",
    token: Annotated[
        str | None,
        typer.Option(
            help=f"Bearer token that requests need. Better in the environment, {_TOKEN}: others see commands."
        ),
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take mistake reports, texts included, into this JSONL file. Off by default."
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A further Host name to answer to, without a port. May be given several times."
        ),
    ] = None,
    tracking_uri: Tracking = None,
) -> None:
    """Answer requests over HTTP, and show a page to try the model.

    A newly promoted champion takes over without a failed request; one that cannot be used is refused, and the old one
    goes on. Ctrl-C ends it when the requests under way are answered.
    """
    from pipelines.errors import ConfigError
    from pipelines.serve.limits import Access, Settings
    from pipelines.serve.server import host_names, is_loopback
    from pipelines.serve.server import serve as run

    secret = os.environ.get(_TOKEN) if token is None else token
    if secret is not None and not (secret.isascii() and secret.isprintable() and secret.strip() == secret != ""):
        raise ConfigError(f"--token or {_TOKEN}: a token is made of visible ASCII characters, at least one")
    if secret is None and not is_loopback(host):
        typer.echo(f"anybody who reaches {host} may ask: set {_TOKEN} to ask them for a token", err=True)
    settings = Settings(Access(host_names(host, allowed_host or []), secret), reports=reports)
    source = _source(model, runtime=runtime, tracking_uri=tracking_uri)
    run(source, host=host, port=port, settings=settings, say=typer.echo)


def _source(model: str, *, runtime: str, tracking_uri: str | None) -> "Source":
    """A directory where there is one of that name, else the registry."""
    from hpo.places import find_places
    from pipelines.errors import ConfigError
    from pipelines.serve.runtimes import Kind
    from pipelines.serve.sources import DirectorySource, RegistrySource

    kinds = {kind.value: kind for kind in Kind}
    if runtime not in kinds:
        raise ConfigError(f"--runtime {runtime}: it is one of {', '.join(kinds)}")
    places = find_places(tracking=tracking_uri)
    if Path(model).is_dir():
        return DirectorySource(Path(model), cache=places.cache, kind=kinds[runtime], say=typer.echo)
    return RegistrySource(model, tracking=places.tracking, cache=places.cache, kind=kinds[runtime], say=typer.echo)
