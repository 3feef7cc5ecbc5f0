"""Commands that look after what studies left: replay a trial, free what nothing needs."""

from typing import Annotated

import typer

from hpo.cli.options import AsJson, Storage
from hpo.cli.screen import print_json, screen


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(rerun)


def rerun(
    trial: Annotated[str, typer.Argument(metavar="STUDY/TRIAL", help="The trial, for instance quickstart/0.")],
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Train a trial once more, exactly as it was, and compare: is every step the same, bit for bit, and the weights?

    First it says what has changed since: code, data, tokenizer, pretrained weights, threads, device,
    libraries. The trial itself, its study and MLflow stay as they are. Exit code 5 when something differs.
    """
    from hpo import rerun as replays
    from hpo.places import find_places
    from pipelines.errors import ModelError

    console = screen()
    found = replays.rerun(
        trial, places=find_places(storage=storage), say=(lambda _: None) if as_json else console.print
    )
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.remarks:
            console.print(line)
        console.print(found.verdict(), style="bold")
    if not found.bit_equal:
        raise typer.Exit(ModelError.exit_code)
