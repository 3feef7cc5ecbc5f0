"""Commands about who is champion: the history of a registered model, and the way back."""

from typing import Annotated, Any

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking

Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")]


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(history)
    app.command()(rollback)


def history(model: Name, as_json: AsJson = False, storage: Storage = None) -> None:
    """Show who was champion when and why, and every decision with its figures, refused challengers among them."""
    from hpo import listing
    from hpo.places import find_places

    found = listing.history(model, find_places(storage=storage))
    if as_json:
        print_json(found)
        return
    reigns = Table("since", "champion", "before", "kind", "why", title=f"{model}: who was champion")
    for row in found["history"]:
        kind = row["kind"] if row["done"] else f"{row['kind']} (cut short)"
        reigns.add_row(row["at"], row["version"] or "none", row["previous"] or "none", kind, row["why"])
    screen().print(reigns)
    for row in found["decisions"]:
        _print_decision(row)


def _print_decision(row: dict[str, Any]) -> None:
    from hpo.decision import read_decision

    first, *figures = read_decision(row).in_words()
    screen().print(f"{row['at']}  {first}", soft_wrap=True)
    for line in figures:
        screen().print(f"    {line}", soft_wrap=True)


def rollback(model: Name, as_json: AsJson = False, tracking_uri: Tracking = None, storage: Storage = None) -> None:
    """Make the previous champion champion again; a second time goes back one further.

    The version is downloaded, verified and loaded first.
    """
    from hpo.delivery import roll_back_model
    from hpo.places import find_places

    reign = roll_back_model(model, places=find_places(tracking=tracking_uri, storage=storage))
    if as_json:
        print_json({"model": model, **reign.as_row()})
    else:
        screen().print(f"{model} version {reign.version} is champion again: {reign.why}")
