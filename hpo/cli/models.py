"""Commands about registered models."""

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking

Model = Annotated[
    str, typer.Argument(metavar="NAME[@ALIAS|/VERSION]", help="A registered model; its champion by default.")
]


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(promote)
    app.command()(pull)


def promote(
    study: Annotated[str, typer.Argument(help="Name of the study whose best trial is to be promoted.")],
    force: Annotated[
        bool, typer.Option("--force", help="Make it champion whatever the gate says; needs --why, and is recorded.")
    ] = False,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="The reason for --force.")] = None,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Test a study's best model on the locked split, register it, and make it champion if it is better.

    A model that was decided about is not tested again; --force makes it champion all the same.
    """
    from pipelines.errors import ConfigError

    if force != bool(why and why.strip()):
        raise ConfigError('--force and --why go together: hpo promote STUDY --force --why "the reason, for the record"')
    from dataclasses import asdict

    from hpo.delivery import promote_study
    from hpo.places import find_places

    decision = promote_study(study, places=find_places(tracking=tracking_uri, storage=storage), force=why)
    if as_json:
        print_json(asdict(decision))
        return
    for line in decision.in_words():
        screen().print(line)


def pull(
    model: Model,
    directory: Annotated[Path, typer.Argument(help="Where to put the Hugging Face directory; must not exist.")],
    tracking_uri: Tracking = None,
) -> None:
    """Download a registered model, verified, as a plain Hugging Face directory."""
    from hpo.places import find_places
    from pipelines import registry
    from pipelines.connection import connect

    client = connect(find_places(tracking=tracking_uri).tracking)
    version = registry.find_version(client, model)
    registry.pull(client, version, directory)
    typer.echo(f"{version.name} version {version.version} -> {directory}")
